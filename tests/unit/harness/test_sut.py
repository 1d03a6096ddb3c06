"""The description of a system: parsed strictly, documented completely."""

from __future__ import annotations

import json
import tomllib
from datetime import date
from pathlib import Path

import jsonschema
import pytest

from gateproof.base.errors import InconclusiveError
from gateproof.base.skip import NotApplicableError, NotDescribedError
from gateproof.description.key import RENAMES, all_keys, example_of, find_field
from gateproof.description.need import parse_needs, refuse_unknown_criteria, unmet
from gateproof.description.reading import load_sut
from gateproof.description.reference import sut_reference, sut_schema
from gateproof.description.sut import Sut
from gateproof_evidence.errors import BadInputError

ROOT = Path(__file__).parents[3]
SUT = ROOT / "system" / "sut.toml"
DOCS = ROOT / "docs" / "reference"
TODAY = date(2026, 11, 29)

ABSENT = """
[[absent]]
feature = "{feature}"
reason = "the owner wants none"
owner = "platform team"
expires = "{expires}"
"""


def altered(tmp_path: Path, before: str, after: str) -> Path:
    """Write the shipped description with one change, for the system where it is."""
    text = SUT.read_text(encoding="utf-8").replace('root = ".."', f'root = "{ROOT}"', 1)
    assert before in text
    path = tmp_path / "sut.toml"
    path.write_text(text.replace(before, after, 1), encoding="utf-8")
    return path


def small(tmp_path: Path, *more: str) -> Path:
    """Write a description with a name, a root and more lines."""
    path = tmp_path / "sut.toml"
    path.write_text("\n".join(('name = "orders"\nroot = "."', *more)), encoding="utf-8")
    return path


MIGRATING = """
[migrations]
up = ["{python}", "manage.py", "migrate", "{revision}", "--to={revision}"]
down = ["{python}", "undo.py", "{revision}"]
"""


# --- what is read ------------------------------------------------------------------------------


def test_sut_of_the_reference_system_is_read() -> None:
    """The shipped description is valid, and the files that it names exist."""
    sut = load_sut(SUT)
    assert sut.folder == ROOT
    assert sut.queue_of("app.tasks.llm.route") == "llm"
    assert len(sut.tasks) == len(set(sut.tasks)) == 13
    assert list(sut.queues) == ["housekeeping", "maintenance", "llm", "attribution"]
    assert sut.login_roles == ("migrator", "app_user", "app_rw", "app_ro", "app_ingest")
    assert all(text.strip() for text in sut.read_sql(sut.provision.server))


def test_files_that_programs_read_must_exist(tmp_path: Path) -> None:
    """A key `reads` with a file that is not there is refused, with the name of the program."""
    path = small(tmp_path)
    path.write_text(f"{path.read_text()}\nreads = {{ node = ['mocks'] }}\n")
    with pytest.raises(BadInputError, match=r"reads\.node: got mocks, expected a file or folder"):
        load_sut(path)
    (tmp_path / "mocks").mkdir()
    assert load_sut(path).reads == {"node": ("mocks",)}
    assert "mocks" in load_sut(path).named_files


def test_sut_needs_a_name_and_a_root_only(tmp_path: Path) -> None:
    """The smallest description is valid, and describes no feature of the system."""
    sut = load_sut(small(tmp_path))
    tables = [key for key in all_keys(Sut) if "." not in key]
    assert {key for key in tables if sut.describes(key)} == {
        *("version", "name", "root", "env", "sources", "gates", "absent", "left_out", "timezones"),
        *("replaced", "reads"),
    }
    assert (sut.login_roles, sut.secrets, sut.provision.server) == ((), {}, ())


def test_sut_finds_the_sources_that_it_does_not_name(tmp_path: Path) -> None:
    """Without sources, the system is all in its root that is no environment, bundle or ignored."""
    for name in ("orders", "venv", "reports", "build"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file.txt").touch()
    (tmp_path / "venv" / "pyvenv.cfg").touch()
    (tmp_path / ".gitignore").write_text("build/\n", encoding="utf-8")
    assert load_sut(small(tmp_path)).sources == (".gitignore", "orders", "sut.toml")


def test_sut_digest_follows_the_files_content(tmp_path: Path) -> None:
    """A change in the file changes the digest."""
    assert load_sut(altered(tmp_path, "# Describe", "# describe")).digest != load_sut(SUT).digest


def test_sut_interpreter_is_that_of_the_system(tmp_path: Path) -> None:
    """A described interpreter runs the commands; its link is kept, as it makes the environment."""
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to("/bin/sh")
    sut = load_sut(small(tmp_path, 'python = "venv/bin/python"'))
    assert sut.fill(["{python}", "-m", "x"]) == [str(python), "-m", "x"]
    assert sut.moved_to(tmp_path / "copy").interpreter == str(python)


def test_sut_outside_its_root_is_read_and_moved(tmp_path: Path) -> None:
    """Only checks that work on a copy of the file need it inside, and say so."""
    (tmp_path / "orders").mkdir()
    path = tmp_path / "sut.toml"
    path.write_text('name = "orders"\nroot = "orders"', encoding="utf-8")
    sut = load_sut(path)
    assert sut.moved_to(tmp_path / "copy").path == path
    with pytest.raises(InconclusiveError, match=r"outside of root .*; move the file"):
        _ = sut.inner_path


def test_sut_secrets_are_those_of_all_commands(tmp_path: Path) -> None:
    """Variables of every command are redacted by their names, like those of workers."""
    sut = load_sut(small(tmp_path, 'env = { API_KEY = "hidden-value", PLAIN = "x" }'))
    assert list(sut.secrets.values()) == ["hidden-value"]


def test_process_has_the_role_and_dsn_of_the_worker_unless_it_has_its_own(tmp_path: Path) -> None:
    """A process needs neither key where the worker has both; its files are secrets."""
    worker = '[worker]\ncommand = ["{python}"]\nrole = "a"\ndsn = { DB = "postgresql" }'
    web = '[[process]]\nname = "web"\ncommand = ["{python}"]\nfiles = { key = "hidden" }'
    api = '[[process]]\nname = "api"\ncommand = ["{python}"]\nrole = "b"\ndsn = {}'
    sut = load_sut(small(tmp_path, worker, web, api))
    first, second = sut.processes
    assert (sut.role_of(first), sut.dsns_of(first)) == ("a", {"DB": "postgresql"})
    assert (sut.role_of(second), sut.dsns_of(second)) == ("b", {})
    assert list(sut.secrets.values()) == ["hidden"]
    assert [role for _, role in sut.named_roles()] == ["a", "b"]


def test_key_of_processes_is_described_if_one_process_has_it(tmp_path: Path) -> None:
    """A need can name a key of a list of tables, at any depth."""
    web = '[[process]]\nname = "web"\ncommand = ["{python}"]'
    request = '[[process.request]]\nname = "one"\npath = "/"\ntable = "t"'
    sut = load_sut(small(tmp_path, web, web.replace("web", "api"), request))
    assert sut.describes("process.request.table")
    assert not sut.describes("process.health")
    assert not sut.describes("process.request.openapi")


# --- features ----------------------------------------------------------------------------------


def test_table_that_is_not_described_says_how_to_describe_it(tmp_path: Path) -> None:
    """Reading it ends the check as not described, with the key and an example."""
    sut = load_sut(small(tmp_path))
    with pytest.raises(NotDescribedError, match=r"tenancy: got no such key .*\[tenancy\], guc = "):
        _ = sut.tenancy.guc


def test_key_that_is_not_described_says_how_to_describe_it(tmp_path: Path) -> None:
    """A key without a default in a described table is not described either."""
    sut = load_sut(small(tmp_path, '[broker]\nkind = "sqla"'))
    assert sut.broker.kind == "sqla"
    with pytest.raises(NotDescribedError, match=r"broker\.lease_s: got no such key .*3600"):
        _ = sut.broker.lease_s


def test_absent_table_is_not_applicable_with_its_reason(tmp_path: Path) -> None:
    """Reading it ends the check as not applicable, and quotes reason and owner."""
    absent = ABSENT.format(feature="dead_letters", expires="2026-11-29")
    sut = load_sut(small(tmp_path, absent), today=TODAY)
    with pytest.raises(NotApplicableError, match=r"the owner wants none \(platform team\)"):
        _ = sut.dead_letters.table


def test_expired_absence_counts_as_not_declared(tmp_path: Path) -> None:
    """From the day after its last, the feature is not described."""
    absent = ABSENT.format(feature="dead_letters", expires="2026-11-28")
    sut = load_sut(small(tmp_path, absent), today=TODAY)
    assert [one.feature for one in sut.expired_absences] == ["dead_letters"]
    with pytest.raises(NotDescribedError, match="dead_letters"):
        _ = sut.dead_letters


DEAD_LETTERS = '[dead_letters]\ntable = "failures"\ncolumns = { args = "task_args" }'


def test_column_is_named_by_its_mapping_or_by_itself(tmp_path: Path) -> None:
    """A logical name without a mapping is the column, and is described."""
    sut = load_sut(small(tmp_path, DEAD_LETTERS))
    assert (sut.dead_letters.column("args"), sut.dead_letters.column("kwargs")) == (
        *("task_args", "kwargs"),
    )
    assert sut.describes("dead_letters.columns.kwargs")


@pytest.mark.parametrize(
    ("needs", "expected"),
    [
        ((), None),
        ("broker", None),
        ("broker.kind=sqla", None),
        ("dead_letters.columns.args", None),
        ("worker", NotDescribedError),
        (("broker", "broker.lease_s"), NotDescribedError),
        ("broker.kind=redis", NotApplicableError),
        ("health", NotApplicableError),
        ("health.path", NotApplicableError),
        ("dead_letters.columns.stack", NotApplicableError),
        (("worker", "health"), NotApplicableError),
        ("worker or broker.kind=sqla", None),
        ("broker.kind=redis or dead_letters", None),
        ("health or broker.kind=sqla", None),
        ("health or broker.kind=redis", NotApplicableError),
        ("worker or broker.kind=redis", NotDescribedError),
        ("worker or tenancy or broker", None),
    ],
)
def test_need_is_met_absent_or_not_described(
    tmp_path: Path, needs: str | tuple[str, ...], expected: type[BaseException] | None
) -> None:
    """An absence or another value makes a criterion not applicable, before a missing key counts."""
    absent = [ABSENT.format(feature=one, expires="2027-01-01") for one in ("health",)]
    absent.append(ABSENT.format(feature="dead_letters.columns.stack", expires="2027-01-01"))
    path = small(tmp_path, *absent, DEAD_LETTERS, '[broker]\nkind = "sqla"')
    found = unmet(load_sut(path, today=TODAY), "A-1", parse_needs(needs))
    assert (None if found is None else type(found)) is expected


def test_need_that_no_description_can_have_is_refused() -> None:
    """A misspelt need is bad input, with the names that are most like it."""
    with pytest.raises(BadInputError, match=r"needs: got 'tenacy\.guc', .*tenancy\.guc"):
        parse_needs("tenacy.guc")
    with pytest.raises(BadInputError, match=r"needs: got 'tenacy', .*two of them with 'or'"):
        parse_needs("broker or tenacy")
    assert str(parse_needs("logs or worker.probe=inject")[0]) == "logs or worker.probe=inject"


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("sources =", "source =", "source: unknown key, expected sources"),
        ("[worker]", "[worker]\npols = 1", "worker.pols: unknown key, expected pool"),
        ('name = "ref', '# name = "ref', "name: missing key"),
        ('role = "app_user"', "", "worker.role: missing key (The database role"),
        ("concurrency = 2", "concurrency = 0", "worker.concurrency: got 0"),
        ('stop_signal = "SIGTERM"', 'stop_signal = "TERM"', "worker.stop_signal: got 'TERM'"),
        ('app = "system.app:app"', 'app = "system.app"', "celery.app: got 'system.app'"),
        ('volumes = ["/var', 'volumes = ["../var', "image.volumes.0: got '../var"),
        ('kind = "sqla"', 'kind = "sql"', "broker.kind: got 'sql'"),
        ("[database]", "[database", "is not valid TOML"),
        ("version = 2", "version = 3", "version: got 3"),
        ("provision/server.sql", "provision/servr.sql", "such as server.sql"),
        ('dockerfile = "system/Dock', 'dockerfile = "system/Dok', "such as Dockerfile"),
        ('task = "app.tasks.housekeeping.ping"', 'task = "app.tasks.pin"', "housekeeping.ping"),
        ("[worker]\n", '[worker]\nsecrets = ["PIN"]\n', "worker.secrets: got PIN"),
        ('order = ["B0.1", ', "order = [", "phases.order: got B0.2, "),
        ('role = "app_ingest"', "role = 'app_ingest'\nsecrets = ['PIN']", "secrets: api: got PIN"),
        ('without = ["database"]', 'without = ["databse"]', "a part such as database"),
        ("accepted = 202", "accepted = 302", "process.0.request.0.accepted: got 302"),
        ('stripe/openapi.yaml"', 'stripe/openapi.yml"', "a file such as openapi.yaml"),
        ('sample = ["{python}", "-m", "system', "# sample", "api/event: got neither path nor"),
        ("[image]", '[[process]]\nname = "api"\ncommand = ["x"]\n[image]', "got api 2 times"),
        ("[logs]", ABSENT.format(feature="halth", expires="2999-01-01") + "[logs]", "health"),
        (
            "[logs]",
            ABSENT.format(feature="health", expires="2999-01-01") + "[logs]",
            "health is declared absent and described",
        ),
        (
            "[logs]",
            ABSENT.format(feature="task", expires="2027-02-31") + "[logs]",
            "absent.0.expires",
        ),
    ],
)
def test_sut_that_breaks_a_rule_is_refused(
    tmp_path: Path, before: str, after: str, message: str
) -> None:
    """The message names the file, the key and the expected value, in one line."""
    path = altered(tmp_path, before, after)
    with pytest.raises(BadInputError, match=f"{path}: .*") as refused:
        load_sut(path)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_sut_findings_come_all_at_once(tmp_path: Path) -> None:
    """Each finding has a line of its own."""
    path = small(tmp_path, "colour = 1", "[worker]", "concurrency = 0")
    with pytest.raises(BadInputError, match="got 4 findings") as refused:
        load_sut(path)
    for key in ("colour: ", "worker.concurrency: ", "worker.command: ", "worker.role: "):
        assert f"\n  {key}" in str(refused.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('python = "venv/bin/python"', "python: got .*venv/bin/python, expected an interpreter"),
        ('[migrations]\nup = ["./migrat"]', r"migrations\.up: got \./migrat, expected a program"),
    ],
)
def test_program_that_does_not_exist_is_refused(tmp_path: Path, line: str, message: str) -> None:
    """A missing interpreter or program is found when the file is read."""
    with pytest.raises(BadInputError, match=message):
        load_sut(small(tmp_path, line))


def test_provision_file_outside_sources_is_refused(tmp_path: Path) -> None:
    """Proofs copy the sources alone; a file elsewhere would be missing in each of them."""
    path = altered(tmp_path, 'sources = ["system", "migrations"]', 'sources = ["system"]')
    with pytest.raises(BadInputError, match=r"server: got .*; add its folder to sources"):
        load_sut(path)


def test_sut_of_version_1_is_refused_with_its_renames(tmp_path: Path) -> None:
    """The message lists the renames of the keys that the file has, and no other."""
    path = small(tmp_path, '[roles]\nmigration = "a"\nworker = "b"', "[queues]\norders = []")
    with pytest.raises(BadInputError, match="got a description of version 1") as refused:
        load_sut(path)
    lines = str(refused.value).splitlines()[1:]
    old = ("roles.migration", "roles.worker", "queues")
    assert lines[:-1] == [f"  {one} -> {RENAMES[one]}" for one in old]


def test_sut_that_is_missing_is_refused(tmp_path: Path) -> None:
    """The message names the missing file and the option that selects another."""
    with pytest.raises(BadInputError, match=r"none\.toml: .*--sut"):
        load_sut(tmp_path / "none.toml")


def test_sut_sources_digest_follows_names_and_contents(tmp_path: Path) -> None:
    """A changed or renamed file changes the digest; a compiled file does not."""
    (tmp_path / "orders").mkdir()
    source = tmp_path / "orders" / "a.py"
    source.write_text("a = 1")
    sut = load_sut(small(tmp_path, 'sources = ["orders"]'))
    first = sut.sources_digest()
    (tmp_path / "orders" / "__pycache__").mkdir()
    (tmp_path / "orders" / "__pycache__" / "a.pyc").write_text("x")
    assert sut.sources_digest() == first
    source.write_text("a = 2")
    second = sut.sources_digest()
    source.rename(tmp_path / "orders" / "b.py")
    assert len({first, second, sut.sources_digest()}) == 3


# --- the generated pages -----------------------------------------------------------------------


def test_sut_reference_is_the_published_one_and_explains_every_key() -> None:
    """The page under docs/ is generated from the model, and every key has a description."""
    assert (DOCS / "sut.md").read_text(encoding="utf-8") == sut_reference(), (
        "docs/reference/sut.md is stale: "
        "run python -m gateproof.description.reference docs/reference/sut.md"
    )
    assert "|  |" not in sut_reference()


def test_sut_schema_is_the_published_one_and_accepts_the_descriptions() -> None:
    """The JSON Schema is generated from the model, and agrees with it on what is in use."""
    published = json.loads((DOCS / "sut.schema.json").read_text(encoding="utf-8"))
    assert published == sut_schema(), (
        "docs/reference/sut.schema.json is stale: "
        "run python -m gateproof.description.reference docs/reference/sut.schema.json"
    )
    validator = jsonschema.Draft202012Validator(published)
    content = tomllib.loads(SUT.read_text(encoding="utf-8"))
    assert list(validator.iter_errors(content)) == []
    assert list(validator.iter_errors({**content, "colour": 1})) != []


@pytest.mark.parametrize("key", all_keys(Sut))
def test_example_of_a_key_is_valid(key: str) -> None:
    """The example that messages give for a key is TOML, and has the key."""
    content = tomllib.loads(example_of(Sut, key))
    for name in key.split("."):
        assert name in content
        content = content[name]
    assert find_field(Sut, key.split(".")) is not None


def probing(tmp_path: Path, *, ping: bool) -> Path:
    """Write the shipped description with probe tasks, with or without its section for a ping."""
    path = altered(tmp_path, "[worker]\n", '[worker]\nprobe = "inject"\n')
    text = path.read_text(encoding="utf-8")
    head, _, rest = text.partition("[ping]")
    path.write_text(text if ping else head + rest[rest.index("[task]") :], encoding="utf-8")
    return path


def test_sut_with_probe_tasks_needs_no_ping(tmp_path: Path) -> None:
    """The harness supplies the section; its tasks go to the first described queue."""
    sut = load_sut(probing(tmp_path, ping=False))
    assert sut.injects_probe
    assert sut.ping.task == "gateproof.probe.ping"
    assert sut.queue_of(sut.ping.task) == next(iter(sut.queues))
    assert sut.ping.task not in sut.tasks, "it is no task of the contract"


def test_sut_keeps_its_own_ping_next_to_probe_tasks(tmp_path: Path) -> None:
    """A described ping stays; without probe tasks there is no queue for them."""
    sut = load_sut(probing(tmp_path, ping=True))
    assert (sut.injects_probe, sut.ping.task) == (True, "app.tasks.housekeeping.ping")
    with pytest.raises(KeyError):
        load_sut(SUT).queue_of("gateproof.probe.ping")


def test_sut_with_a_probe_in_its_command_alone_is_refused(tmp_path: Path) -> None:
    """The message names the key to add."""
    before = '"--concurrency={concurrency}"]'
    path = altered(tmp_path, before, '"--concurrency={concurrency}", "-I", "{probe}"]')
    with pytest.raises(BadInputError, match=r'worker\.command: got \{probe\} .* probe = "inject"'):
        load_sut(path)


LEFT_OUT = """
[[left_out]]
criterion = "{criterion}"
reason = "stock transport"
owner = "platform team"
expires = "2027-06-30"
"""


def test_criterion_that_is_left_out_is_not_applicable_until_it_expires(tmp_path: Path) -> None:
    """A person's decision counts for its criterion alone, and to its last day."""
    path = small(tmp_path, LEFT_OUT.format(criterion="BRK-06"))
    sut = load_sut(path, today=date(2027, 6, 30))
    found = unmet(sut, "BRK-06", ())
    assert isinstance(found, NotApplicableError)
    assert str(found) == "BRK-06 is left out: stock transport (platform team)"
    assert unmet(sut, "BRK-07", ()) is None
    late = load_sut(path, today=date(2027, 7, 1))
    assert unmet(late, "BRK-06", ()) is None
    assert [one.criterion for one in late.expired_left_out] == ["BRK-06"]


def test_criterion_that_is_left_out_must_exist(tmp_path: Path) -> None:
    """An id that no catalogue has is refused with the nearest one."""
    sut = load_sut(small(tmp_path, LEFT_OUT.format(criterion="BRK-60")), today=TODAY)
    refuse_unknown_criteria(sut, ["BRK-60"])
    with pytest.raises(BadInputError, match=r"left_out: criterion: got BRK-60, .* BRK-06"):
        refuse_unknown_criteria(sut, ["BRK-06", "RLS-01"])


# --- commands ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("revision", "words"),
    [
        ("heads", ["heads", "--to=heads"]),
        ("orders 0002", ["orders", "0002", "--to=orders 0002"]),
        ("", ["--to="]),
    ],
)
def test_revision_becomes_as_many_words_as_it_has(
    tmp_path: Path, revision: str, words: list[str]
) -> None:
    """Some tools name a revision by two words, or all revisions by none."""
    sut = load_sut(small(tmp_path, MIGRATING))
    assert sut.fill_migration(revision) == [sut.interpreter, "manage.py", "migrate", *words]
    assert sut.fill_migration(revision, down=True)[1:] == ["undo.py", *revision.split()]
