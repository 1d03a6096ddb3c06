"""Every path inside a bundle, relative to its folder, with forward slashes.

Folders end in a slash. Records name files relative to ``data/``: `in_data` and `in_bundle` convert
between the two.

Source: RFC 8493 section 2 (the bag); docs/reference/bundle.md.
"""

from __future__ import annotations

# --- the bag -----------------------------------------------------------------------------------

PAYLOAD = "data/"
PAYLOAD_MANIFEST = "manifest-sha256.txt"
TAG_MANIFEST = "tagmanifest-sha256.txt"
BAGIT = "bagit.txt"
BAG_INFO = "bag-info.txt"
ATTESTATION = "attestation.dsse.json"
PUBLIC_KEY = "public-key.pem"
VERIFY_TEXT = "VERIFY.txt"
VERIFY_SCRIPT = "verify.sh"

SIGNS = (ATTESTATION, BAGIT, BAG_INFO, PAYLOAD_MANIFEST, TAG_MANIFEST)
"""The files that identify a bundle: sealing writes them into each."""

# --- the records of a run, and the files that are derived from them -----------------------------

JOURNAL = "data/journal.jsonl"
RUN = "data/run.json"
CATALOGUE = "data/catalogue.json"
WAIVERS = "data/waivers.json"
REDACTIONS = "data/redactions.json"
REPORT = "data/report.html"
TRANSCRIPTS = "data/transcripts/"
ANSWERS = "data/answers/"
"""The answers that fixtures gave to each check, for `gateproof rejudge --gates`."""
TAKEN_OVER = "data/taken-over/"
EXPORT_FOLDER = "data/exports/"
TESTS = "data/tests/"
JUNIT = "data/tests/junit.xml"
PYTEST_PAGE = "data/tests/pytest.html"
NOT_COMPARED = (JUNIT, PYTEST_PAGE)
"""Files of other plugins of pytest: signed, and compared with nothing."""

# --- the shards of a merged run -------------------------------------------------------------------

SHARDS = "data/shards/"

# --- additions after sealing ---------------------------------------------------------------------

SIGNOFFS = "signoffs/"
TIMESTAMPS = "timestamps/"

# --- links next to bundles -----------------------------------------------------------------------

LATEST = "latest"
"""The link to the last bundle in a folder of bundles."""
LATEST_ARCHIVE = "latest.zip"
"""The link to the ZIP archive of the last bundle."""


def in_bundle(recorded: str) -> str:
    """Return the path in the bundle of a file that a record names."""
    return f"{PAYLOAD}{recorded}"


def in_data(path: str) -> str:
    """Return the path of a file in the form that records use: relative to ``data/``."""
    return path.removeprefix(PAYLOAD)


def of_shard(number: int, path: str) -> str:
    """Return where a merged bundle has a file of one shard that would clash with another's.

    Args:
        number: the number of the shard.
        path: where the file is in the bundle of that shard.

    """
    return f"{SHARDS}{number}/{path.rpartition('/')[2]}"


def taken_over(digest: str) -> str:
    """Return the path of the attestation of an earlier bundle from which something was taken over.

    Args:
        digest: the digest of that attestation, ``sha256:...``.

    """
    return f"{TAKEN_OVER}{digest.removeprefix('sha256:')}.dsse.json"


def taken_over_run(digest: str) -> str:
    """Return the path of the ``run.json`` of an earlier bundle from which something was taken over.

    Args:
        digest: as for `taken_over`.

    """
    return f"{TAKEN_OVER}{digest.removeprefix('sha256:')}.run.json"
