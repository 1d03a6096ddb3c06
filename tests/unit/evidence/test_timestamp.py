"""Timestamps by a local authority, which uses openssl and answers over real HTTP."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateproof_evidence.additions.attachment import attach
from gateproof_evidence.additions.timestamp import place_of
from gateproof_evidence.additions.timestamp_request import stamp
from gateproof_evidence.cli import main
from gateproof_evidence.errors import BadInputError
from gateproof_evidence.format.archive.writer import write_archive
from gateproof_evidence.sealing.bag import TEMPLATES
from gateproof_evidence.verification.bundle import Verification, verify
from tests.portable import without_posix
from tests.sample import sealed

CONFIGURATION = """\
[req]
distinguished_name = name
prompt = no
x509_extensions = ca
[name]
CN = Root of {name}
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
[leaf]
basicConstraints = critical, CA:FALSE
extendedKeyUsage = critical, timeStamping
[stamps]
serial = serial
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha512
ess_cert_id_alg = sha256
"""


@dataclass(frozen=True, kw_only=True)
class Authority:
    """An authority with its own root."""

    folder: Path

    @property
    def root(self) -> bytes:
        """Return its root certificate."""
        return (self.folder / "root.pem").read_bytes()

    def answer(self, query: bytes) -> bytes:
        """Return the answer to a query."""
        (self.folder / "query").write_bytes(query)
        command = "ts -reply -config tsa.cnf -section stamps -queryfile query -signer leaf.pem"
        openssl(self.folder, f"{command} -inkey leaf.key -out answer")
        return (self.folder / "answer").read_bytes()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Provide an authority."""
    return made(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide a bundle to copy."""
    return sealed(tmp_path_factory.mktemp("bundle"))


@pytest.fixture
def bundle(template: Path, tmp_path: Path) -> Path:
    """Provide a bundle for one test."""
    return shutil.copytree(template, tmp_path / "bundle")


@pytest.fixture
def served() -> Iterator[Callable[[Callable[[bytes], bytes]], str]]:
    """Provide a function that serves answers over HTTP, and returns the address."""
    servers: list[ThreadingHTTPServer] = []

    def serve(answer: Callable[[bytes], bytes]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(200)
                self.send_header("Content-Type", "application/timestamp-reply")
                self.end_headers()
                self.wfile.write(answer(body))

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        poll = {"poll_interval": 0.01}
        threading.Thread(target=server.serve_forever, kwargs=poll, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}/"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


Serve = Callable[[Callable[[bytes], bytes]], str]


def test_timestamp_is_stored_and_verified_with_the_authority_from_outside(
    bundle: Path, authority: Authority, served: Serve
) -> None:
    """A timestamp states a time at which the attestation existed."""
    stored = stamp(bundle, served(authority.answer), authority=authority.root, clock=now)
    found = verify(bundle, timestamp_ca=authority.root)
    assert found.findings == ()
    assert found.stamped.is_trusted
    [one] = found.stamped.timestamps
    assert (one.path, one.at) == (stored.path, stored.at)
    assert abs(now() - one.at) < dt.timedelta(minutes=5)


def test_timestamp_needs_no_posix(
    bundle: Path, authority: Authority, served: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking, storing and verifying work where `os` has only what Windows has."""
    url = served(authority.answer)
    without_posix(monkeypatch)
    stored = stamp(bundle, url, authority=authority.root, clock=now)
    found = verify(bundle, timestamp_ca=authority.root)
    assert [one.path for one in found.stamped.timestamps] == [stored.path]
    assert found.findings == ()


def test_timestamp_of_an_archive_lies_next_to_it_until_it_is_attached(
    bundle: Path, authority: Authority, served: Serve, tmp_path: Path
) -> None:
    """An archive is stamped as a folder is, and the answer can be put into either form."""
    archive = write_archive(bundle, tmp_path / "run.zip")
    stored = stamp(archive, served(authority.answer), authority=authority.root, clock=now)
    near = tmp_path / "run.zip.timestamps" / Path(stored.path).name
    assert [one.path for one in verify(archive).stamped.timestamps] == [stored.path]
    for one in (bundle, archive):
        assert attach(one, [near]) == (stored.path,)
    near.unlink()
    for one in (bundle, archive):
        found = verify(one, timestamp_ca=authority.root)
        assert (found.findings, found.stamped.is_trusted) == ((), True)
    near.write_bytes(b"x")
    with pytest.raises(BadInputError, match="which is taken"):
        attach(archive, [near])


def test_timestamp_verifies_with_openssl_alone(
    bundle: Path, authority: Authority, served: Serve
) -> None:
    """The file can be verified by hand, without this project."""
    stored = stamp(bundle, served(authority.answer), authority=None, clock=now)
    command = f"ts -verify -data {bundle}/attestation.dsse.json -in {bundle}/{stored.path}"
    openssl(authority.folder, f"{command} -CAfile root.pem")
    assert script(bundle).returncode == 0


def test_timestamp_by_another_authority_is_not_trusted(
    bundle: Path, authority: Authority, served: Serve, tmp_path: Path
) -> None:
    """The stamp must be by the named authority; without one no stamp is trusted."""
    stamp(bundle, served(authority.answer), authority=None, clock=now)
    other = made(tmp_path / "other")
    found = verify(bundle, timestamp_ca=other.root)
    assert codes(found) == {"TIMESTAMP_NOT_TRUSTED", "TIMESTAMP_MISSING"}
    assert "unable to get local issuer certificate" in found.findings[1].message
    unknown = verify(bundle)
    assert (unknown.ok, unknown.stamped.is_trusted) == (True, False)


def test_timestamp_is_required_if_an_authority_is_named(bundle: Path, authority: Authority) -> None:
    """An authority that is named must have stamped the bundle."""
    assert codes(verify(bundle, timestamp_ca=authority.root)) == {"TIMESTAMP_MISSING"}


def test_timestamp_of_another_bundle_is_refused(
    bundle: Path, authority: Authority, served: Serve, tmp_path: Path
) -> None:
    """A stamp is valid for only one attestation."""
    stamp(bundle, served(authority.answer), authority=None, clock=now)
    (tmp_path / "released").mkdir()
    other = sealed(tmp_path / "released", failing=False)
    shutil.copytree(bundle / "timestamps", other / "timestamps")
    assert codes(verify(other)) == {"TIMESTAMP_OTHER_BUNDLE"}
    done = script(other)
    assert (done.returncode, b"TIMESTAMP_MALFORMED timestamps/" in done.stderr) == (1, True)


def test_timestamp_before_sealing_is_refused(
    authority: Authority, served: Serve, tmp_path: Path
) -> None:
    """A bundle cannot be stamped before it is sealed, so one of the clocks is wrong."""
    early = sealed(tmp_path, at=now() + dt.timedelta(days=1))
    stamp(early, served(authority.answer), authority=None, clock=now)
    assert codes(verify(early)) == {"TIMESTAMP_TIME"}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "TIMESTAMP_MALFORMED"),
        (lambda path: path.write_bytes(path.read_bytes() + b"x"), "TIMESTAMP_MALFORMED"),
        (lambda path: path.write_bytes(b"x" * 65537), "TIMESTAMP_MALFORMED"),
        (lambda path: path.rename(path.with_name("other.tsr")), "TIMESTAMP_MALFORMED"),
        (lambda path: path.with_name("README").write_text("hello"), "TIMESTAMP_MALFORMED"),
        (lambda path: path.with_name("empty").mkdir(), "EMPTY_FOLDER"),
    ],
)
def test_timestamps_are_a_closed_world(
    bundle: Path,
    authority: Authority,
    served: Serve,
    change: Callable[[Path], object],
    code: str,
) -> None:
    """timestamps/ may contain only complete answers under their own names."""
    stored = stamp(bundle, served(authority.answer), authority=None, clock=now)
    change(bundle / stored.path)
    assert codes(verify(bundle)) == {code}


def test_altered_timestamp_is_never_trusted(
    bundle: Path, authority: Authority, served: Serve
) -> None:
    """A changed byte anywhere in an answer is detected by its name, its form or its signature."""
    stored = stamp(bundle, served(authority.answer), authority=None, clock=now)
    content = (bundle / stored.path).read_bytes()
    (bundle / stored.path).unlink()
    for position in range(9, len(content), 131):
        altered = content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]
        path = bundle / place_of(altered)
        path.write_bytes(altered)
        found = verify(bundle, timestamp_ca=authority.root)
        assert "TIMESTAMP_MISSING" in codes(found), position
        assert found.stamped.timestamps == ()
        path.unlink()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda _: b"<html>busy</html>", "got other bytes, expected one DER value"),
        (lambda _: b"", "got other bytes"),
        (lambda _: b"\x30\x03\x02\x01\x02", "timestamp: openssl: "),
        (lambda _: b"x" * 70_000, "got more than 65536 bytes"),
    ],
)
def test_stamp_stores_only_timestamps(
    bundle: Path, served: Serve, answer: Callable[[bytes], bytes], message: str
) -> None:
    """An answer is parsed before it is stored."""
    with pytest.raises(BadInputError, match=message):
        stamp(bundle, served(answer), authority=None, clock=now)
    assert not (bundle / "timestamps").exists()


def test_stamp_stores_no_unusable_timestamp(
    bundle: Path, authority: Authority, served: Serve, tmp_path: Path
) -> None:
    """A replayed answer, a wrong clock and another authority are refused at once."""
    openssl(tmp_path, f"ts -query -sha256 -cert -digest {'ab' * 32} -out query")
    old = authority.answer((tmp_path / "query").read_bytes())
    url = served(authority.answer)
    with pytest.raises(BadInputError, match=r"got an unusable one \(over sha256:abab"):
        stamp(bundle, served(lambda _: old), authority=None, clock=now)
    with pytest.raises(BadInputError, match="expected about 2099"):
        stamp(bundle, url, authority=None, clock=lambda: dt.datetime(2099, 1, 1, tzinfo=dt.UTC))
    with pytest.raises(BadInputError, match="unable to get local issuer certificate"):
        stamp(bundle, url, authority=made(tmp_path / "other").root, clock=now)
    assert not (bundle / "timestamps").exists()


def test_stamp_refuses_a_bundle_that_does_not_verify(bundle: Path) -> None:
    """An altered bundle is refused without a request to the authority."""
    (bundle / "extra").write_text("x")
    with pytest.raises(BadInputError, match="got 1 findings, expected a bundle that verifies"):
        stamp(bundle, "http://127.0.0.1:1/", authority=None, clock=now)


def test_timestamp_by_command(
    bundle: Path, authority: Authority, served: Serve, tmp_path: Path
) -> None:
    """The commands print the time of the stamp, and whether its authority is known."""
    root = tmp_path / "root.pem"
    root.write_bytes(authority.root)
    for url, message in (("ftp://x/", "expected http://"), ("http://127.0.0.1:1/", "got <urlopen")):
        done = gateproof("timestamp", bundle, "--timestamp-url", url)
        assert (done.exit_code, message in done.stderr) == (4, True), done.output
    url = served(authority.answer)
    done = gateproof("timestamp", bundle, "--timestamp-url", url, "--timestamp-ca", root, "--json")
    assert done.exit_code == 0, done.output
    stored = json.loads(done.output)
    unverified = gateproof("verify", bundle)
    at = dt.datetime.fromisoformat(stored["at"])
    assert f"unverified timestamp: states {at}, by an authority that was not" in unverified.output
    assert "stamped at" not in unverified.output
    document = json.loads(gateproof("verify", bundle, "--json").output)["stamped"]
    assert (document["timestamps"], document["trusted"]) == ([], False)
    assert document["unverified_timestamps"] == [{"path": stored["path"], "at": stored["at"]}]
    done = gateproof("verify", bundle, "--timestamp-ca", root)
    assert done.exit_code == 0, done.output
    assert f"stamped at {at}" in done.output.splitlines()
    stamped = json.loads(gateproof("verify", bundle, "--timestamp-ca", root, "--json").output)
    assert stamped["stamped"]["timestamps"] == [{"path": stored["path"], "at": stored["at"]}]


# --- helpers -----------------------------------------------------------------------------------


def gateproof(*arguments: object) -> Result:
    """Run a command."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def now() -> dt.datetime:
    """Return the present time."""
    return dt.datetime.now(dt.UTC)


def codes(found: Verification) -> set[str]:
    """Return the code of every finding."""
    return {finding.code.value for finding in found.findings}


def script(bundle: Path) -> subprocess.CompletedProcess[bytes]:
    """Run verify.sh."""
    command = ["sh", str(TEMPLATES / "verify.sh"), str(bundle)]
    return subprocess.run(command, capture_output=True, check=False)


def made(folder: Path) -> Authority:
    """Make an authority: a root, and a certificate for stamping under it."""
    folder.mkdir(exist_ok=True)
    (folder / "tsa.cnf").write_text(CONFIGURATION.format(name=folder.name))
    (folder / "serial").write_text("01\n")
    new = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -config tsa.cnf"
    openssl(folder, f"req -x509 {new} -keyout root.key -out root.pem -days 30")
    openssl(folder, f"req {new} -keyout leaf.key -out leaf.csr")
    sign = "x509 -req -in leaf.csr -CA root.pem -CAkey root.key -set_serial 2 -days 30"
    openssl(folder, f"{sign} -extfile tsa.cnf -extensions leaf -out leaf.pem")
    return Authority(folder=folder)


def openssl(folder: Path, words: str) -> None:
    """Run openssl in a folder."""
    command = ["openssl", *words.split()]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
