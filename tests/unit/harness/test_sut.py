"""The description of a system: parsed strictly, documented completely."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateproof.base.sut import load_sut
from gateproof.base.sut_reference import sut_reference
from gateproof_evidence.errors import BadInputError

ROOT = Path(__file__).parents[3]
SUT = ROOT / "system" / "sut.toml"


def altered(tmp_path: Path, before: str, after: str) -> Path:
    """Write the shipped description with one change."""
    text = SUT.read_text(encoding="utf-8")
    assert before in text
    path = tmp_path / "sut.toml"
    path.write_text(text.replace(before, after, 1), encoding="utf-8")
    return path


def test_sut_of_the_reference_system_is_read() -> None:
    """The shipped description is valid, and the files that it names exist."""
    sut = load_sut(SUT)
    assert sut.folder == ROOT
    assert sut.queue_of("app.tasks.llm.route") == "llm"
    assert len(sut.tasks) == len(set(sut.tasks)) == 12
    assert all(text.strip() for text in sut.read_sql(sut.provision.server))


def test_sut_digest_follows_the_files_content(tmp_path: Path) -> None:
    """A change in the file changes the digest."""
    assert load_sut(altered(tmp_path, "# Describe", "# describe")).digest != load_sut(SUT).digest


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("sources =", "source =", "source: unknown key"),
        ("sources = ", "# sources = ", "sources: missing key; add it"),
        ("concurrency = 2", "concurrency = 0", "worker.concurrency: got 0"),
        ('stop_signal = "SIGTERM"', 'stop_signal = "TERM"', "worker.stop_signal: got 'TERM'"),
        ('app = "system.app:app"', 'app = "system.app"', "celery.app: got 'system.app'"),
        ('volumes = ["/var', 'volumes = ["../var', "image.volumes.0: got '../var"),
        ("[roles]", "[roles", "is not valid TOML"),
    ],
)
def test_sut_that_breaks_a_rule_is_refused(
    tmp_path: Path, before: str, after: str, message: str
) -> None:
    """The message names the file, the key and the expected value."""
    path = altered(tmp_path, before, after)
    with pytest.raises(BadInputError, match=f"{path}: .*") as refused:
        load_sut(path)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_sut_that_is_missing_is_refused(tmp_path: Path) -> None:
    """The message names the missing file and the option that selects another."""
    with pytest.raises(BadInputError, match=r"none\.toml: .*--sut"):
        load_sut(tmp_path / "none.toml")


def test_sut_with_a_missing_sql_file_is_refused(tmp_path: Path) -> None:
    """The message names the provisioning file that cannot be read."""
    path = altered(tmp_path, "provision/server.sql", "provision/none.sql")
    sut = load_sut(path)
    with pytest.raises(BadInputError, match=r"provision: got .*none\.sql, expected a readable"):
        sut.read_sql(sut.provision.server)


def test_sut_sources_digest_follows_names_and_contents(tmp_path: Path) -> None:
    """A changed or renamed file changes the digest; a compiled file does not."""
    (tmp_path / "system").mkdir()
    (tmp_path / "migrations").mkdir()
    source = tmp_path / "system" / "a.py"
    source.write_text("a = 1")
    sut = load_sut(altered(tmp_path, 'root = ".."', 'root = "."'))
    first = sut.sources_digest()
    (tmp_path / "system" / "__pycache__").mkdir()
    (tmp_path / "system" / "__pycache__" / "a.pyc").write_text("x")
    assert sut.sources_digest() == first
    source.write_text("a = 2")
    second = sut.sources_digest()
    source.rename(tmp_path / "system" / "b.py")
    assert len({first, second, sut.sources_digest()}) == 3


def test_sut_reference_is_the_published_one_and_explains_every_key() -> None:
    """The page under docs/ is generated from the model, and every key has a description."""
    page = ROOT / "docs" / "reference" / "sut.md"
    assert page.read_text(encoding="utf-8") == sut_reference(), (
        "docs/reference/sut.md is stale: "
        "run python -m gateproof.base.sut_reference docs/reference/sut.md"
    )
    assert "|  |" not in sut_reference()


def probing(tmp_path: Path, *, ping: bool) -> Path:
    """Write the shipped description with probe tasks, with or without its section for a ping."""
    text = SUT.read_text(encoding="utf-8").replace("[worker]\n", '[worker]\nprobe = "inject"\n', 1)
    head, _, rest = text.partition("[ping]")
    path = tmp_path / "sut.toml"
    path.write_text(text if ping else head + rest[rest.index("[queues]") :], encoding="utf-8")
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
