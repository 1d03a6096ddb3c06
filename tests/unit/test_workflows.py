"""The workflows: schema and audit accept them, and refuse harmful changes of them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from xml.etree import ElementTree as ET

import pytest
from ruamel.yaml import YAML

from tests.ci_guide import gitlab_file, guide_step, with_key
from tests.criteria import catalogue
from tests.sample import make_bundle
from tests.sample.small import RELEASED

NODE_24 = {
    "actions/checkout": 5,
    "actions/setup-python": 6,
    "actions/upload-artifact": 6,
    "actions/download-artifact": 7,
}
"""The first major of each action that runs on Node 24."""

GITLAB_LIMIT = 30 * 1024 * 1024
"""The largest JUnit file that GitLab reads, in bytes."""

ROOT = Path(__file__).parents[2]
WORKFLOWS = ROOT / ".github" / "workflows"
SCRIPTS = Path(sys.executable).parent
SCHEMA = (str(SCRIPTS / "check-jsonschema"), "--builtin-schema")


def run(*command: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a command to completion, with both streams in one."""
    return subprocess.run(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=60,
    )


def make_workflows(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the workflows under a folder with schema and audit, as ``make check`` does."""
    ready = (f"VENV={SCRIPTS.parent}", "SETUP=", "DEV_SETUP=")
    return run("make", "-f", str(ROOT / "Makefile"), "workflows", *ready, folder=folder)


def changed(folder: Path, before: str, after: str) -> Path:
    """Return a folder with gates.yml in which a text is replaced; the text must be in the file."""
    text = (WORKFLOWS / "gates.yml").read_text(encoding="utf-8")
    assert before in text, f"premise: gates.yml holds {before!r}"
    copies = folder / ".github" / "workflows"
    copies.mkdir(parents=True)
    (copies / "gates.yml").write_text(text.replace(before, after), encoding="utf-8")
    return folder


def test_workflows_match_their_schema_and_pass_the_audit(tmp_path: Path) -> None:
    """`make check` accepts the workflows, and also an unchanged copy."""
    done = make_workflows(ROOT)
    assert done.returncode == 0, done.stdout
    same = make_workflows(changed(tmp_path, "name: gates", "name: gates"))
    assert same.returncode == 0, same.stdout


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("runs-on: ubuntu-24.04", "run-on: ubuntu-24.04", "Schema validation errors"),
        ("@de0fac2e4500dabe0009e67214ff5f5447ce83dd # v6.0.2", "@v4", "unpinned-uses"),
        ("persist-credentials: false", "fetch-depth: 1", "artipacked"),
        ("permissions: {}", "permissions: write-all", "excessive-permissions"),
        ("run: make gates", "run: echo '${{ github.head_ref }}'", "template-injection"),
    ],
    ids=["schema", "pin", "credentials", "permissions", "injection"],
)
def test_harmful_workflow_is_refused(tmp_path: Path, before: str, after: str, message: str) -> None:
    """Refused are an unknown key, a tag as pin, kept credentials, wide permissions, shell input."""
    done = make_workflows(changed(tmp_path, before, after))
    assert done.returncode != 0, done.stdout
    assert message in done.stdout


def test_actions_are_releases_that_run_on_node_24() -> None:
    """No pin is of an older major: runners have dropped Node 20."""
    for path in sorted(WORKFLOWS.glob("*.yml")):
        pins = re.findall(r"uses: (\S+)@[0-9a-f]{40} # v(\d+)\.", path.read_text(encoding="utf-8"))
        assert pins, path
        assert [(name, major) for name, major in pins if int(major) < NODE_24[name]] == [], path


def test_ci_runs_make_on_every_supported_python() -> None:
    """`make check` and `make test` run on each minor version from the oldest supported one."""
    job = YAML(typ="safe", pure=True).load(WORKFLOWS / "ci.yml")["jobs"]["test"]
    lines = [step["run"] for step in job["steps"] if "run" in step]
    assert lines == ["make check", "make test"]
    for line in lines:
        assert run(*line.split(), "--dry-run", "SETUP=", "DEV_SETUP=").returncode == 0, line
    minors = [int(version.removeprefix("3.")) for version in job["strategy"]["matrix"]["python"]]
    for name in ("evidence", "harness"):
        text = (ROOT / name / "pyproject.toml").read_text(encoding="utf-8")
        assert tomllib.loads(text)["project"]["requires-python"] == f">=3.{minors[0]}", name
    assert minors == list(range(minors[0], 15))


def test_evidence_is_verified_on_another_machine_also_when_red() -> None:
    """A separate job, which runs after a red one too, verifies the one file that that one keeps."""
    jobs = YAML(typ="safe", pure=True).load(WORKFLOWS / "gates.yml")["jobs"]
    judge, verify = jobs["gates"]["steps"], jobs["verify"]
    assert (verify["needs"], verify["if"]) == ("gates", "always()")
    [kept] = [step["with"] for step in judge if "upload-artifact" in step.get("uses", "")]
    [fetched] = [step["with"] for step in verify["steps"] if "download-artifact" in str(step)]
    assert (kept["archive"], fetched["skip-decompress"]) == (False, True)
    assert fetched["name"] == kept["path"]
    assert any("gateproof verify" in step.get("run", "") for step in verify["steps"])


def test_portable_workflow_installs_what_an_auditor_installs() -> None:
    """Its machines get the set and the wheel of gateproof-evidence, and are not Linux."""
    job = YAML(typ="safe", pure=True).load(WORKFLOWS / "portable.yml")["jobs"]["verify"]
    systems = {name.partition("-")[0] for name in job["strategy"]["matrix"]["system"]}
    assert systems == {"macos", "windows"}
    lines = "\n".join(step.get("run", "") for step in job["steps"]).splitlines()
    assert [line.rpartition(" ")[2] for line in lines if "pip install" in line] == [
        "evidence/requirements.txt",
        "received/gateproof_evidence-*.whl",
    ]
    assert not any(line.startswith(("make", ".venv")) for line in lines)


def test_portable_workflow_says_whether_it_was_run() -> None:
    """The workflow and the guide say the same: both claim that it was run, or neither does."""
    workflow = (WORKFLOWS / "portable.yml").read_text(encoding="utf-8")
    guide = (ROOT / "docs/how-to/run-in-ci.md").read_text(encoding="utf-8")
    assert "portable.yml" in guide
    assert workflow.startswith("# NOT RUN YET: ") is ("*not run yet*" in guide)


def test_guide_for_a_signing_key_passes_schema_and_audit(tmp_path: Path) -> None:
    """The workflow with the guide's steps is valid, and keeps its permissions and pins."""
    folder = changed(tmp_path, *with_key()[0])
    path = folder / ".github" / "workflows" / "gates.yml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(*with_key()[1]), encoding="utf-8")
    done = make_workflows(folder)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("secret", ["", "-----BEGIN PRIVATE KEY-----\nx"], ids=["fork", "own"])
def test_guide_for_a_signing_key_leaves_runs_without_a_secret_alone(
    tmp_path: Path, secret: str
) -> None:
    """With a secret the key is a private file that the run signs with; a fork gets neither."""
    [step] = YAML(typ="safe", pure=True).load(
        dedent(guide_step("write the signing key, where the run has one"))
    )
    environment = tmp_path / "environment"
    environment.touch()
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        env={
            "PATH": os.environ["PATH"],
            "KEY": secret,
            "RUNNER_TEMP": str(tmp_path),
            "GITHUB_ENV": str(environment),
        },
        check=False,
    )
    key = tmp_path / "key.pem"
    assert (done.returncode, key.exists()) == (0, bool(secret))
    assert environment.read_text() == (f"GATEPROOF_SIGNING_KEY={key}\n" if secret else "")
    if secret:
        assert (key.read_text(), key.stat().st_mode & 0o077) == (f"{secret}\n", 0)


def test_guide_for_gitlab_matches_its_schema_and_keeps_red_evidence(tmp_path: Path) -> None:
    """The GitLab file of the guide is valid, and keeps the artifacts of red runs."""
    path = tmp_path / ".gitlab-ci.yml"
    path.write_text(gitlab_file(), encoding="utf-8")
    schema = (*SCHEMA, "vendor.gitlab-ci", "--data-transform", "gitlab-ci")
    assert run(*schema, str(path)).returncode == 0
    jobs = YAML(typ="safe", pure=True).load(path)
    assert jobs["gates"]["script"] == ["make gates"]
    assert jobs["gates"]["artifacts"]["when"] == "always"
    assert jobs["verify"]["when"] == "always"
    path.write_text(gitlab_file().replace("when: always", "when: perhaps"), encoding="utf-8")
    assert run(*schema, str(path)).returncode == 1


def test_guide_for_gitlab_shows_one_case_for_each_criterion(tmp_path: Path) -> None:
    """GitLab gets the criteria: unique cases, below its limit even when every message is long."""
    gates = YAML(typ="safe", pure=True).load(gitlab_file())["gates"]
    criteria = catalogue().criteria
    names = tuple(one.id for one in criteria)
    messages = dict.fromkeys(names, "<&\u2028" * 1300)
    plan = replace(RELEASED, failing=names, unfalsified=names, messages=messages, waivers=())
    bundle = make_bundle(tmp_path / "reports" / "one", plan, criteria=criteria)
    (tmp_path / "reports" / "latest").symlink_to(bundle.name)
    done = run("bash", "-eo", "pipefail", "-c", "\n".join(gates["after_script"]), folder=tmp_path)
    assert done.returncode == 0, done.stdout
    assert gates["artifacts"]["paths"] == ["evidence.tar.gz"]
    report = tmp_path / gates["artifacts"]["reports"]["junit"]
    assert report.stat().st_size < GITLAB_LIMIT
    cases = [(one.get("classname"), one.get("name")) for one in ET.parse(report).iter("testcase")]
    assert len(set(cases)) == len(cases)
    assert {name for _, name in cases} == {*names, "released"}


def test_guide_for_gitlab_verifies_from_a_clone_of_its_own() -> None:
    """The artifact cannot replace a verifier: the job clones its own, and runs nothing else."""
    verify = YAML(typ="safe", pure=True).load(gitlab_file())["verify"]
    assert verify["variables"]["GIT_STRATEGY"] == "none"
    lines = verify["script"]
    assert lines.index("cd own") < lines.index("make setup")
    assert [line for line in lines if re.search(r"(^|sh |\./)\S*received\S*verify", line)] == []
    assert any('--expect-commit "$CI_COMMIT_SHA"' in line for line in lines)
