"""The file probe: it records each file that it read or missed, and stays in its folder."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateproof.base.errors import HarnessError
from gateproof.probes.file import FileProbe
from gateproof.probes.recorder import Recorder
from gateproof_evidence.format.recording.journal import Journal, read_journal
from gateproof_evidence.model import Observation
from gateproof_evidence.redaction.redactor import Redactor


@pytest.fixture
def files(tmp_path: Path) -> Iterator[FileProbe]:
    """A probe for a folder with one file, and another file outside the folder."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "there.yml").write_text("on: push\n")
    (tmp_path / "outside.txt").write_text("not yours\n")
    (project / "link.txt").symlink_to(tmp_path / "outside.txt")
    journal = Journal(
        tmp_path / "journal.jsonl", writer="main", clock=lambda: dt.datetime.now(dt.UTC)
    )
    yield FileProbe(Recorder(journal, Redactor(), tmp_path), project)
    journal.close()


def test_file_probe_records_what_it_read(files: FileProbe, tmp_path: Path) -> None:
    """The text that a check gets is the text of the capture."""
    assert files.read("there.yml") == "on: push\n"
    [record] = read_journal([tmp_path / "journal.jsonl"])
    assert isinstance(record, Observation)
    assert record.probe == "file"
    entry = (tmp_path / record.transcript).read_text()
    assert entry.partition("\n")[2] == "--- there.yml\non: push\n\n"


def test_file_probe_records_that_a_file_is_missing(files: FileProbe, tmp_path: Path) -> None:
    """A missing file is an observation too; otherwise a check could pass without any."""
    assert files.read("missing.yml") is None
    [record] = read_journal([tmp_path / "journal.jsonl"])
    assert isinstance(record, Observation)
    assert record.data == {"path": "missing.yml", "found": False}


@pytest.mark.parametrize("name", ["../outside.txt", "link.txt", "/etc/hostname"])
def test_file_probe_stays_in_its_folder(files: FileProbe, name: str) -> None:
    """Paths with dots, through a link or from the root are refused."""
    with pytest.raises(HarnessError, match="expected a path inside"):
        files.read(name)
