"""Reads and checks the options of the plugin.

Leaves declaring them to `gateproof.base.option`, which every pytest imports.
"""

from __future__ import annotations

import datetime as dt
import os
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from gateproof.base.compiled import refuse_other_place
from gateproof.base.option import (
    CATALOGUE,
    DEFAULT_EVIDENCE,
    KEY_VARIABLE,
    PATH_OPTIONS,
    WAIVERS,
    find_gates,
    refuse_unused,
    sut_file,
)
from gateproof.description.gates import folders_of_run
from gateproof.description.reading import load_sut
from gateproof.description.sut import Sut
from gateproof.environments.postgres import PROGRAMS
from gateproof.faults.described.file import OwnFalsifiers, load_falsifiers
from gateproof.run.binding import Judges
from gateproof.run.selection import NONCE_ADVICE, Selection, parse_nonce, parse_shard
from gateproof_evidence.errors import DISK_FAULTS, BadInputError, not_writable
from gateproof_evidence.format.recording.journal import shard_writer
from gateproof_evidence.model import Shard
from gateproof_evidence.verification.expectation import parse_age
from gateproof_evidence.verification.outside import refuse_inside


@dataclass(frozen=True, kw_only=True)
class Options:
    """The checked options of a run."""

    gates: tuple[Path, ...]
    """The folders with a catalogue; together they are the catalogue of the run."""
    sut: Sut
    own: OwnFalsifiers
    """The falsifiers that the system has of its own."""
    evidence_out: Path
    environment: str
    postgres_version: str
    postgres_bin: Path | None
    """The folder of PostgreSQL's programs; None for those of the wheel."""
    postgres_image: str
    system_image: str | None
    postgres_port: int
    ready_deadline_s: float
    signing_key: Path | None
    falsify: Selection
    proofs_from: Path | None
    """An earlier bundle whose proofs are reused; None repeats all proofs."""
    proofs_key: Path | None
    changed: bool
    """Whether checks are reused as well, and not only proofs."""
    changed_since: str | None
    """The commit since which a change selects a check; None selects all."""
    watch: bool
    """Whether it is recorded which code of the system its processes use."""
    proofs_max_age: dt.timedelta | None
    """The highest age of a check or proof that is reused; None for any age."""
    baseline: Path | None
    """An earlier bundle that the run is compared with."""
    baseline_key: Path | None
    durations_json: Path | None
    """The file that receives the time of each item, by step."""
    nonce: str | None = None
    """Identifies the run; None for a random one."""
    shard: Shard | None = None
    """The part of the run that this machine judges; None for all."""
    mutation: Path | None = None
    """The folder of `gateproof mutate`, which starts this run to judge mutants; nothing is sealed
    then."""
    shard_durations: tuple[Path, ...] = ()
    """Files with the durations of earlier runs, by which shards are balanced."""

    @property
    def catalogues(self) -> tuple[Path, ...]:
        """The paths of the catalogues."""
        return tuple(folder / CATALOGUE for folder in self.gates)

    @property
    def judges(self) -> Judges:
        """The files that the run is judged by."""
        return Judges(checks=self.gates, catalogues=self.catalogues)

    @property
    def waivers(self) -> tuple[Path, ...]:
        """The paths of the waivers; the files need not exist."""
        return tuple(folder / WAIVERS for folder in self.gates)

    def writer(self, name: str) -> str:
        """Return the name of a writer, which in a shard is that of no other shard."""
        return shard_writer(self.shard.number, name) if self.shard else name


def read_options(config: pytest.Config) -> Options | None:
    """Return the checked options, or None in a project without a catalogue.

    Raises:
        BadInputError: the evidence folder is a file or cannot be written, options were given that
            have no effect without a catalogue, Python removes asserts, or pytest may end the
            process before the evidence is sealed.

    """
    gates = find_gates(config)
    if gates is None:
        refuse_unused(config)
        return None
    _refuse_removed_asserts()
    _refuse_foreign_settings(config, gates)
    refuse_other_place()
    _refuse_sudden_exit(config)
    root = config.rootpath
    key = config.getoption("--signing-key") or os.environ.get(KEY_VARIABLE)
    out = Path(config.getoption("--evidence-out") or root / DEFAULT_EVIDENCE).absolute()
    earlier, earlier_key = _reused_bundle(config)
    baseline, baseline_key = _bundle_and_key(
        config,
        "--baseline",
        "--baseline-key",
        "a run is compared only with a bundle that a key from outside the bundle verifies",
    )
    falsify = Selection.parse(config.getoption("falsify"))
    nonce, shard = _nonce_and_shard(config, falsify)
    refuse_unwritable(out)
    sut = load_sut(sut_file(config))
    return Options(
        gates=folders_of_run(sut, gates),
        own=load_falsifiers(sut),
        sut=sut,
        evidence_out=out,
        environment=config.getoption("--environment"),
        postgres_version=config.getoption("--postgres-version"),
        postgres_bin=_postgres_bin(config),
        postgres_image=config.getoption("--postgres-image"),
        system_image=config.getoption("--system-image"),
        postgres_port=config.getoption("--postgres-port"),
        ready_deadline_s=config.getoption("--ready-deadline"),
        signing_key=Path(key) if key else None,
        falsify=falsify,
        proofs_from=earlier,
        proofs_key=earlier_key,
        changed=_only_changed(config),
        changed_since=_changed_since(config),
        watch=not config.getoption("--no-watch"),
        proofs_max_age=_max_age(config),
        baseline=baseline,
        baseline_key=baseline_key,
        durations_json=_durations_json(config),
        nonce=nonce,
        shard=shard,
        mutation=Path(config.getoption("--mutation")) if config.getoption("--mutation") else None,
        shard_durations=tuple(Path(one).absolute() for one in config.getoption("shard_durations")),
    )


def _nonce_and_shard(config: pytest.Config, falsify: Selection) -> tuple[str | None, Shard | None]:
    """Return the nonce and the shard, if they are given.

    Raises:
        BadInputError: one of them has another form, or an option is missing that a shard needs.

    """
    nonce, shard = config.getoption("--nonce"), config.getoption("--shard")
    if nonce is not None:
        nonce = parse_nonce(nonce)
    if not shard:
        if config.getoption("shard_durations"):
            raise BadInputError("--shard-durations: got it without --shard, expected both")
        return nonce, None
    number, of = parse_shard(shard)
    if nonce is None:
        raise BadInputError(f"--shard {shard}: got no --nonce, expected both; {NONCE_ADVICE}")
    if falsify.matrix:
        raise BadInputError(
            f"--shard {shard}: got --falsify=matrix, expected another selection: the matrix of a "
            "gate needs all its checks in one run; run it on one machine"
        )
    return nonce, Shard(number=number, of=of, nonce=nonce)


def _postgres_bin(config: pytest.Config) -> Path | None:
    """Return the folder of PostgreSQL's programs, if one is named."""
    name = config.getoption("--postgres-bin")
    if not name:
        return None
    if config.getoption("--environment") == "containers":
        raise BadInputError(
            "--postgres-bin: got it with --environment containers, expected embedded; there "
            "--postgres-image names the server"
        )
    folder = Path(name).absolute()
    missing = [one for one in PROGRAMS if not os.access(folder / one, os.X_OK)]
    if missing:
        raise BadInputError(
            f"{folder}: --postgres-bin: got no {', '.join(missing)}, expected the folder of a "
            "PostgreSQL server's programs, such as /usr/lib/postgresql/16/bin"
        )
    return folder


def _durations_json(config: pytest.Config) -> Path | None:
    """Return the path of the file of durations; its folder must exist before anything runs."""
    name = config.getoption("--durations-json")
    if not name:
        return None
    path = Path(name).absolute()
    if path.is_dir() or not path.parent.is_dir():
        raise BadInputError(
            f"{path}: --durations-json: got {'a folder' if path.is_dir() else 'no folder'}, "
            "expected a file in a folder that exists; name another"
        )
    return path


def _refuse_foreign_settings(config: pytest.Config, gates: Path) -> None:
    """Refuse settings that pytest found through the value of an option of this plugin.

    pytest chooses its settings before it knows the options of plugins. It takes a value that is a
    word of its own for the path of a test, and searches the folders above it too.
    """
    used = config.inipath
    here = config.invocation_params.dir.resolve()
    if used is None or any(one.is_relative_to(used.parent) for one in (gates, here)):
        return
    for option, value in pairwise(config.invocation_params.args):
        path = (config.invocation_params.dir / value).resolve()
        if option in PATH_OPTIONS and path.exists() and path.is_relative_to(used.parent):
            raise BadInputError(
                f"{option} {value}: pytest took this for the path of a test, and its settings from "
                f"{used}, which are not those of {gates}; write {option}={value}"
            )


def _refuse_removed_asserts() -> None:
    """Refuse a Python in which the asserts of helpers, which pytest does not rewrite, are gone."""
    if sys.flags.optimize:
        raise BadInputError(
            f"PYTHONOPTIMIZE or python -O: got level {sys.flags.optimize}, expected 0: Python then "
            "removes asserts, and a check whose helper asserts cannot fail; unset PYTHONOPTIMIZE "
            "and leave out -O"
        )


def _refuse_sudden_exit(config: pytest.Config) -> None:
    """Refuse the option of pytest that ends the process with 1 and without a bundle."""
    name = "faulthandler_exit_on_timeout"
    try:
        chosen = bool(config.getini(name))
    except ValueError:  # pytest before version 9 has no such option
        return
    if chosen:
        raise BadInputError(
            f"{name}: got true, expected false: it ends the run without a bundle; limit a check "
            "with limit_s of @criterion"
        )


def _reused_bundle(config: pytest.Config) -> tuple[Path | None, Path | None]:
    """Return the bundle with proofs to reuse and the key that must verify it, or neither."""
    found = _bundle_and_key(
        config,
        "--proofs-from",
        "--proofs-key",
        "proofs are reused only from a bundle that a key from outside the bundle verifies",
    )
    return (None, None) if config.getoption("--fresh") else found


def _only_changed(config: pytest.Config) -> bool:
    """Return whether only what depends on a change is to run."""
    changed, fresh = config.getoption("--changed"), config.getoption("--fresh")
    if changed and not config.getoption("--proofs-from") and not fresh:
        raise BadInputError(
            "--changed: got no --proofs-from, expected the bundle since which something may have "
            "changed; name the last bundle of the main branch, and its key with --proofs-key"
        )
    return bool(changed) and not fresh


def _changed_since(config: pytest.Config) -> str | None:
    """Return the commit since which a change selects a check."""
    revision: str | None = config.getoption("--changed-since")
    if revision and (config.getoption("--changed") or config.getoption("--proofs-from")):
        raise BadInputError(
            f"--changed-since: got {revision} and a bundle, expected one of them; with a bundle, "
            "--changed knows what each check depends on"
        )
    return revision


def _max_age(config: pytest.Config) -> dt.timedelta | None:
    age = config.getoption("--proofs-max-age")
    return parse_age(age, option="--proofs-max-age") if age else None


def _bundle_and_key(
    config: pytest.Config, option: str, key_option: str, why: str
) -> tuple[Path | None, Path | None]:
    """Return a bundle and the key that must verify it, or neither."""
    bundle, key = config.getoption(option), config.getoption(key_option)
    if bool(bundle) != bool(key):
        raise BadInputError(f"{option}: got one of {option} and {key_option}, expected both: {why}")
    if not bundle:
        return None, None
    for path in (Path(bundle), Path(key)):
        if not path.exists():
            raise BadInputError(f"{path}: {option}: got no such file, expected one; name it")
    refuse_inside(Path(key), Path(bundle), key_option)
    return Path(bundle).resolve(), Path(key).absolute()


def refuse_unwritable(out: Path) -> None:
    """Check that bundles can be written to a folder; create it if it is missing.

    Raises:
        BadInputError: it is a file, or this user may not create or write it.
        NotWritableError: the disk does not let anybody write: it is full or broken.

    """
    if out.exists() and not out.is_dir():
        raise BadInputError(f"{out}: --evidence-out: got a file, expected a folder; name another")
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / f".writable-{os.getpid()}"
        try:
            probe.write_bytes(b"x")  # a full disk still takes an empty file
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        if error.errno in DISK_FAULTS:
            raise not_writable(out, error, what="evidence folder") from error
        raise BadInputError(
            f"{out}: --evidence-out: cannot be written ({error.strerror}); name a folder that can"
        ) from error
