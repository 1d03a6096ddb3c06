"""The recipes for several machines: each engine's schema accepts them, and their commands work."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from gateproof.run.selection import parse_nonce, parse_shard

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/how-to/run-on-several-machines.md"
MANIFEST = ROOT / "docs/examples/kubernetes-job.yaml"
SCHEMA = ROOT / "tests/kubernetes_job.schema.json"
CHECK = str(Path(sys.executable).parent / "check-jsonschema")

PYTEST = """#!/bin/sh
printf '%s\\n' "$@" > "$SEEN"
exit "$STATUS"
"""
"""A program in the place of pytest: it records its arguments and ends with a given status."""


def block(word: str) -> str:
    """Return the YAML example of the page that has a word."""
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    [found] = [one for one in blocks if word in one]
    return str(found)


def accepts(path: Path, *schema: str) -> bool:
    """Return whether a schema accepts a file."""
    done = subprocess.run([CHECK, *schema, str(path)], capture_output=True, text=True, check=False)
    return done.returncode == 0


def run_shell(
    script: str, folder: Path, *, status: int, env: dict[str, str]
) -> tuple[int, list[str]]:
    """Run the script of a recipe with a program in place of pytest; return both results."""
    (folder / ".venv/bin").mkdir(parents=True, exist_ok=True)
    program = folder / ".venv/bin/pytest"
    program.write_text(PYTEST)
    program.chmod(0o755)
    seen = folder / "seen"
    variables = {"PATH": os.environ["PATH"], "SEEN": str(seen), "STATUS": str(status), **env}
    shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c"]
    if "JOB_COMPLETION_INDEX" in env:
        shell = ["sh", "-c"]
    done = subprocess.run([*shell, script], cwd=folder, env=variables, check=False)
    return done.returncode, seen.read_text().splitlines()


def option(arguments: list[str], name: str) -> str:
    """Return the value of an option among arguments."""
    return arguments[arguments.index(name) + 1]


def github() -> dict[str, Any]:
    """Return the jobs of the GitHub recipe."""
    jobs = YAML(typ="safe", pure=True).load(block("runs-on"))["jobs"]
    assert isinstance(jobs, dict)
    return jobs


def test_github_recipe_matches_the_schema_of_workflows(tmp_path: Path) -> None:
    """It is a valid workflow, and a misspelt key makes it none."""
    text = f"name: shards\non: push\n{block('runs-on')}"
    path = tmp_path / "shards.yml"
    path.write_text(text)
    assert accepts(path, "--builtin-schema", "vendor.github-workflows")
    path.write_text(text.replace("fail-fast", "fail-fst"))
    assert not accepts(path, "--builtin-schema", "vendor.github-workflows")


@pytest.mark.parametrize(("status", "ends"), [(100, 0), (0, 1), (1, 1), (103, 1)])
def test_github_recipe_passes_the_shard_and_a_nonce(tmp_path: Path, status: int, ends: int) -> None:
    """A partial run is a green job, and every other status a red one."""
    [step] = [one for one in github()["shard"]["steps"] if "judge" in one.get("name", "")]
    env = {"SHARD": "2", "GITHUB_REPOSITORY": "team/orders", "GITHUB_RUN_ID": "4711"}
    done, arguments = run_shell(step["run"], tmp_path, status=status, env=env)
    assert done == ends
    assert parse_shard(option(arguments, "--shard")) == (2, 3)
    parse_nonce(option(arguments, "--nonce"))
    assert github()["shard"]["strategy"]["matrix"]["shard"] == [1, 2, 3]


def test_gitlab_recipe_matches_its_schema_and_counts_from_one(tmp_path: Path) -> None:
    """It is valid; the numbers of GitLab are those of the shards."""
    path = tmp_path / ".gitlab-ci.yml"
    path.write_text(block("CI_NODE_TOTAL"))
    schema = ("--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci")
    assert accepts(path, *schema)
    script = YAML(typ="safe", pure=True).load(path)["shard"]["script"]
    env = {"CI_PROJECT_ID": "1", "CI_PIPELINE_ID": "4711"}
    env |= {"CI_NODE_INDEX": "3", "CI_NODE_TOTAL": "3"}
    done, arguments = run_shell("\n".join(script[1:]), tmp_path, status=100, env=env)
    assert done == 100
    assert parse_shard(option(arguments, "--shard")) == (3, 3)
    parse_nonce(option(arguments, "--nonce"))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("completionMode: Indexed", "completionMode: NonIndexed"),
        ("  completions: 3\n", ""),
        ("restartPolicy: Never", "restartPolicy: OnFailure"),
        ("backoffLimitPerIndex: 1 ", "backOffLimitPerIndex: 1 "),
        ('value: "3"', "value: 3"),
        ("workingDir", "workdir"),
    ],
)
def test_kubernetes_manifest_is_an_indexed_job(tmp_path: Path, before: str, after: str) -> None:
    """Its fields are those of the API, with their types; one that is misspelt is found."""
    text = MANIFEST.read_text(encoding="utf-8")
    assert text.count(before) == 1
    path = tmp_path / "job.yaml"
    path.write_text(text)
    assert accepts(path, "--schemafile", str(SCHEMA))
    path.write_text(text.replace(before, after))
    assert not accepts(path, "--schemafile", str(SCHEMA))


@pytest.mark.parametrize(("status", "ends"), [(100, 0), (0, 0), (1, 0), (4, 1), (103, 1), (137, 1)])
def test_kubernetes_manifest_counts_from_zero_and_repeats_only_what_was_not_judged(
    tmp_path: Path, status: int, ends: int
) -> None:
    """A violation is a result; a pod that was killed or misconfigured is started again."""
    job = YAML(typ="safe", pure=True).load(MANIFEST)["spec"]
    [container] = job["template"]["spec"]["containers"]
    env = {one["name"]: one["value"] for one in container["env"]}
    assert int(env["SHARDS"]) == job["completions"]
    [script] = container["args"]
    env["JOB_COMPLETION_INDEX"] = "2"
    done, arguments = run_shell(script, tmp_path, status=status, env=env)
    assert done == ends
    assert parse_shard(option(arguments, "--shard")) == (3, 3)
    assert option(arguments, "--evidence-out") == "/evidence/shard-3"
    parse_nonce(option(arguments, "--nonce"))
