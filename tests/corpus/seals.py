"""Steps of a recipe that rewrite manifests, statements, signatures and sign-offs."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateproof_evidence.additions.addition import is_addition
from gateproof_evidence.additions.sign_off import Statement, format_signoff, place_of
from gateproof_evidence.clients.ssh_keygen import SshSignature
from gateproof_evidence.format.archive.folder import Folder
from gateproof_evidence.format.attestation import (
    AttestedKey,
    attested,
    format_statement,
    parse_statement,
)
from gateproof_evidence.format.canonical import canonical_json, digest_of
from gateproof_evidence.format.catalogue import Catalogue, parse_catalogue
from gateproof_evidence.format.envelope import Envelope, pae
from gateproof_evidence.format.manifest import format_manifest, payload_oxum
from gateproof_evidence.format.recording.journal import read_journal
from gateproof_evidence.format.tree import read_tree
from gateproof_evidence.format.waiver import parse_waivers
from gateproof_evidence.judging.judgement import judge
from gateproof_evidence.model import Run
from gateproof_evidence.reports.exports import registry as exports
from gateproof_evidence.sealing.run_key import RunKey
from gateproof_evidence.verification.rerendering import render_again
from tests.corpus.files import edit, write
from tests.corpus.workshop import ATTESTATION, KEYS, MANIFEST, TAGS, Workshop, write_ssh_key
from tests.sample import SEALED, fixed_key

RUN, CATALOGUE = "data/run.json", "data/catalogue.json"


def rewrite_manifests(bundle: Path, _: Workshop) -> None:
    """Update both manifests and the payload's size to the files in the bundle."""
    files = [f for f in read_tree(bundle, keep=lambda _: 0).files if not is_addition(f.path)]
    payload = [file for file in files if file.path.startswith("data/")]
    info = bundle / "bag-info.txt"
    lines = [line for line in info.read_text().splitlines() if not line.startswith("Payload-Oxum")]
    info.write_text("\n".join([*lines, f"Payload-Oxum: {payload_oxum(payload)}", ""]))
    (bundle / MANIFEST).write_bytes(format_manifest(payload))
    rewrite_tags(bundle, _)


def rewrite_tags(bundle: Path, _: Workshop) -> None:
    """Update the tag manifest to the files outside the payload."""
    files = [f for f in read_tree(bundle, keep=lambda _: 0).files if not is_addition(f.path)]
    tags = [f for f in files if not f.path.startswith("data/")]
    tags = [f for f in tags if f.path not in (ATTESTATION, TAGS)]
    (bundle / TAGS).write_bytes(format_manifest(tags))


def seal(bundle: Path, shop: Workshop, *, key: str = "signer", claims: str = "{}") -> None:
    """Seal the bundle again: public key, manifests, attestation."""
    (bundle / "public-key.pem").write_bytes(_key(key).public_pem)
    rewrite_manifests(bundle, shop)
    sign(bundle, shop, key=key, claims=claims)


def sign(bundle: Path, _: Workshop, *, key: str = "signer", claims: str = "{}") -> None:
    """Attest the bundle without changing its manifests; claims replace fields of the statement."""
    tree = read_tree(bundle, keep=lambda _: 0)
    files = [f for f in tree.files if f.path != ATTESTATION and not is_addition(f.path)]
    predicate = parse_statement(_envelope(bundle).payload)
    own = AttestedKey(keyid=_key(key).keyid, ephemeral=False)
    predicate = predicate.model_copy(update={"files": attested(files), "key": own})
    changed = type(predicate).model_validate({**predicate.model_dump(), **json.loads(claims)})
    _attest(bundle, format_statement(changed), _key(key))


def state(
    bundle: Path, _: Workshop, *, old: str, new: str, key: str = "signer", pick: int = 0
) -> None:
    """Sign the statement again, with one text in it replaced."""
    payload = _envelope(bundle).payload
    assert payload.count(old.encode()) > pick, f"statement: got no {old!r}"
    parts = payload.split(old.encode())
    joined = old.encode().join(parts[: pick + 1]) + new.encode()
    joined += old.encode().join(parts[pick + 1 :])
    _attest(bundle, joined, _key(key))


def attest(bundle: Path, _: Workshop, *, payload: str, key: str = "signer") -> None:
    """Sign another payload."""
    _attest(bundle, payload.encode(), _key(key))


def envelope(bundle: Path, _: Workshop, *, at: list[str | int], value: str) -> None:
    """Set one value in the envelope, given as JSON, and write the canonical form."""
    edit(bundle, _, path=ATTESTATION, at=at, value=value, canonical=True)


def second_signature(
    bundle: Path, _: Workshop, *, key: str = "signer", keyid: str = "", first: bool = False
) -> None:
    """Add a signature over the same payload, under the id of its key or another id."""
    document = json.loads((bundle / ATTESTATION).read_bytes())
    made = _key(key).sign(pae(_envelope(bundle).payload))
    added = {"keyid": keyid or _key(key).keyid, "sig": base64.b64encode(made).decode()}
    signatures = document["signatures"]
    document["signatures"] = [added, *signatures] if first else [*signatures, added]
    (bundle / ATTESTATION).write_bytes(canonical_json(document))


def url_alphabet(bundle: Path, _: Workshop) -> None:
    """Write the signature in the URL alphabet of base64."""
    document = json.loads((bundle / ATTESTATION).read_bytes())
    text = document["signatures"][0]["sig"]
    document["signatures"][0]["sig"] = text.replace("+", "-").replace("/", "_").rstrip("=")
    (bundle / ATTESTATION).write_bytes(canonical_json(document))


def loose_bits(bundle: Path, _: Workshop) -> None:
    """Set the bits of the signature's last digit that decoding ignores."""
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    document = json.loads((bundle / ATTESTATION).read_bytes())
    text = document["signatures"][0]["sig"]
    last = digits[digits.index(text[-3]) + 1]
    document["signatures"][0]["sig"] = f"{text[:-3]}{last}=="
    (bundle / ATTESTATION).write_bytes(canonical_json(document))


def public_key(bundle: Path, _: Workshop, *, key: str = "", note: str = "") -> None:
    """Replace the public key, by an RSA key if none is named, or add a note before it."""
    if key:
        content = _key(key).public_pem
    else:
        made = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
        content = made.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (bundle / "public-key.pem").write_bytes(note.encode() + content)


def render(bundle: Path, _: Workshop) -> None:
    """Render report and exports again, from the current statement and data."""
    run = Run.model_validate_json((bundle / RUN).read_bytes())
    page = render_again(
        Folder(bundle),
        run,
        read_journal([bundle / "data/journal.jsonl"]),
        parse_statement(_envelope(bundle).payload),
    )
    (bundle / "data/report.html").write_bytes(page)
    for path, content in exports.render_all(run).items():
        (bundle / path).write_bytes(content)


def take_signature(bundle: Path, shop: Workshop, *, sample: str) -> None:
    """Replace the signature by that of another bundle, over other bytes."""
    other = json.loads((shop.samples[sample] / ATTESTATION).read_bytes())
    envelope(bundle, shop, at=["signatures"], value=json.dumps(other["signatures"]))


def claim_keyid(bundle: Path, shop: Workshop, *, key: str) -> None:
    """Write another key's id into the envelope."""
    envelope(bundle, shop, at=["signatures", 0, "keyid"], value=json.dumps(_key(key).keyid))


def forget(bundle: Path, _: Workshop, *, path: str) -> None:
    """Sign a statement that lacks one file."""
    predicate = parse_statement(_envelope(bundle).payload)
    kept = tuple(file for file in predicate.files if file.path != path)
    assert len(kept) == len(predicate.files) - 1, f"statement: got no {path}"
    _attest(bundle, format_statement(predicate.model_copy(update={"files": kept})), _key("signer"))


def other_subject(bundle: Path, _: Workshop) -> None:
    """Sign a statement whose first subject has another digest."""
    payload = _envelope(bundle).payload
    before, found, after = payload.partition(b'"subject":[{"digest":{"sha256":"')
    _attest(bundle, before + found + b"0" * 64 + after[64:], _key("signer"))


def chain(bundle: Path, shop: Workshop, *, sample: str) -> None:
    """Name a sample as the previous bundle in run and statement, and seal."""
    previous = json.dumps(digest_of((shop.samples[sample] / ATTESTATION).read_bytes()))
    edit(bundle, shop, path=RUN, at=["bindings", "previous"], value=previous)
    seal(bundle, shop, claims=f'{{"previous":{previous}}}')
    render(bundle, shop)
    seal(bundle, shop)


def leave_out(bundle: Path, shop: Workshop, *, criterion: str) -> None:
    """Remove a criterion from catalogue, run and statement, then judge and seal the rest."""
    whole = parse_catalogue((bundle / CATALOGUE).read_bytes())
    kept = tuple(one for one in whole.criteria if one.id != criterion)
    catalogue = Catalogue(criteria=kept)
    (bundle / CATALOGUE).write_bytes(catalogue.content)
    judged = judge(
        kept,
        read_journal([bundle / "data/journal.jsonl"]),
        parse_waivers((bundle / "data/waivers.json").read_bytes()),
    )
    run = Run.model_validate_json((bundle / RUN).read_bytes())
    update = {**vars(judged), "catalogue_digest": catalogue.digest}
    changed = run.model_copy(update=update)
    (bundle / RUN).write_text(changed.model_dump_json(by_alias=True, indent=2))
    _seal_catalogue(bundle, shop, changed, catalogue.ids)


def respell_catalogue(bundle: Path, shop: Workshop) -> None:
    """Write the catalogue with spaces, and its new digest into run and statement."""
    document = json.loads((bundle / CATALOGUE).read_bytes())
    (bundle / CATALOGUE).write_text(json.dumps(document, indent=2))
    digest = digest_of((bundle / CATALOGUE).read_bytes())
    edit(bundle, shop, path=RUN, at=["catalogue_digest"], value=json.dumps(digest))
    run = Run.model_validate_json((bundle / RUN).read_bytes())
    _seal_catalogue(bundle, shop, run, tuple(one.id for one in run.criteria))


def _seal_catalogue(bundle: Path, shop: Workshop, run: Run, ids: tuple[str, ...]) -> None:
    claims = {
        "catalogue_digest": run.catalogue_digest,
        "criteria": ids,
        "result": run.result,
        "exit_status": run.exit_status,
    }
    seal(bundle, shop, claims=json.dumps(claims))


def _envelope(bundle: Path) -> Envelope:
    return Envelope.from_bytes((bundle / ATTESTATION).read_bytes())


def _attest(bundle: Path, payload: bytes, key: RunKey) -> None:
    signed = Envelope(payload=payload, keyid=key.keyid, signature=key.sign(pae(payload)))
    (bundle / ATTESTATION).write_bytes(signed.to_bytes())


def _key(name: str) -> RunKey:
    return fixed_key(KEYS[name])


def sign_off(
    bundle: Path,
    shop: Workshop,
    *,
    by: str,
    signer: str = "",
    namespace: str = "gateproof-signoff@v1",
    claims: str = "{}",
    minutes: int = 10,
) -> None:
    """Add a sign-off.

    Args:
        bundle: the folder.
        shop: the keys.
        by: name of the signing key, a reviewer's or a run's.
        signer: the claimed name; by default the key's owner.
        namespace: the namespace of the signature.
        claims: fields to replace in the statement, as JSON.
        minutes: minutes from sealing to signing.

    """
    fields = {
        "attestation": digest_of((bundle / ATTESTATION).read_bytes()),
        "report": digest_of((bundle / "data/report.html").read_bytes()),
        "result": json.loads((bundle / "data/run.json").read_bytes())["result"],
        "signer": signer or f"{by}@x.org",
        "at": SEALED + timedelta(minutes=minutes),
        "phase": None,
        "reservations": None,
        **json.loads(claims),
    }
    statement = Statement.model_validate(fields)
    content = format_signoff(statement)
    if by in KEYS:
        write_ssh_key(shop.folder / by, KEYS[by])
    command = ("ssh-keygen", "-q", "-Y", "sign", "-f", str(shop.folder / by), "-n", namespace)
    done = subprocess.run(command, input=content, capture_output=True, check=True)
    place = place_of(content, statement, SshSignature.from_bytes(done.stdout).keyid)
    write(bundle, shop, path=f"{place}.json", text=content.decode())
    write(bundle, shop, path=f"{place}.json.sig", text=done.stdout.decode())


STEPS: tuple[Callable[..., None], ...] = (
    attest,
    chain,
    claim_keyid,
    envelope,
    forget,
    leave_out,
    loose_bits,
    other_subject,
    public_key,
    render,
    respell_catalogue,
    rewrite_manifests,
    rewrite_tags,
    seal,
    second_signature,
    sign,
    sign_off,
    state,
    take_signature,
    url_alphabet,
)
