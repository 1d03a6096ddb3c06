"""Steps of a recipe that write manifests, statements, signatures and sign-offs again."""

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
from gateproof_evidence.format.attestation import (
    AttestedKey,
    attested,
    format_statement,
    parse_statement,
)
from gateproof_evidence.format.canonical import canonical_json, digest_of
from gateproof_evidence.format.catalogue import Catalogue, parse_catalogue
from gateproof_evidence.format.envelope import Envelope, pae
from gateproof_evidence.format.journal import read_journal
from gateproof_evidence.format.manifest import format_manifest, payload_oxum
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
    """Make both manifests and the payload's size fit what lies in the bundle."""
    files = [f for f in read_tree(bundle, keep=lambda _: 0).files if not is_addition(f.path)]
    payload = [file for file in files if file.path.startswith("data/")]
    info = bundle / "bag-info.txt"
    lines = [line for line in info.read_text().splitlines() if not line.startswith("Payload-Oxum")]
    info.write_text("\n".join([*lines, f"Payload-Oxum: {payload_oxum(payload)}", ""]))
    (bundle / MANIFEST).write_bytes(format_manifest(payload))
    rewrite_tags(bundle, _)


def rewrite_tags(bundle: Path, _: Workshop) -> None:
    """Make the tag manifest fit what lies beside the payload."""
    files = [f for f in read_tree(bundle, keep=lambda _: 0).files if not is_addition(f.path)]
    tags = [f for f in files if not f.path.startswith("data/")]
    tags = [f for f in tags if f.path not in (ATTESTATION, TAGS)]
    (bundle / TAGS).write_bytes(format_manifest(tags))


def seal(bundle: Path, shop: Workshop, *, key: str = "signer", claims: str = "{}") -> None:
    """Seal what lies in the bundle again: public key, manifests, attestation."""
    (bundle / "public-key.pem").write_bytes(_key(key).public_pem)
    rewrite_manifests(bundle, shop)
    sign(bundle, shop, key=key, claims=claims)


def sign(bundle: Path, _: Workshop, *, key: str = "signer", claims: str = "{}") -> None:
    """Attest what lies in the bundle, manifests as they are; claims are what is said otherwise."""
    tree = read_tree(bundle, keep=lambda _: 0)
    files = [f for f in tree.files if f.path != ATTESTATION and not is_addition(f.path)]
    told = parse_statement(_envelope(bundle).payload)
    own = AttestedKey(keyid=_key(key).keyid, ephemeral=False)
    told = told.model_copy(update={"files": attested(files), "key": own})
    changed = type(told).model_validate({**told.model_dump(), **json.loads(claims)})
    _attest(bundle, format_statement(changed), _key(key))


def state(
    bundle: Path, _: Workshop, *, old: str, new: str, key: str = "signer", pick: int = 0
) -> None:
    """Sign the statement again with one text in it replaced."""
    payload = _envelope(bundle).payload
    assert payload.count(old.encode()) > pick, f"statement: got no {old!r}"
    parts = payload.split(old.encode())
    joined = old.encode().join(parts[: pick + 1]) + new.encode()
    joined += old.encode().join(parts[pick + 1 :])
    _attest(bundle, joined, _key(key))


def attest(bundle: Path, _: Workshop, *, payload: str, key: str = "signer") -> None:
    """Sign another payload altogether."""
    _attest(bundle, payload.encode(), _key(key))


def envelope(bundle: Path, _: Workshop, *, at: list[str | int], value: str) -> None:
    """Set one place in the envelope, given as JSON, in its canonical spelling."""
    edit(bundle, _, path=ATTESTATION, at=at, value=value, canonical=True)


def second_signature(
    bundle: Path, _: Workshop, *, key: str = "signer", keyid: str = "", first: bool = False
) -> None:
    """Add a signature over the same payload, under its own key's id or another."""
    told = json.loads((bundle / ATTESTATION).read_bytes())
    made = _key(key).sign(pae(_envelope(bundle).payload))
    added = {"keyid": keyid or _key(key).keyid, "sig": base64.b64encode(made).decode()}
    signatures = told["signatures"]
    told["signatures"] = [added, *signatures] if first else [*signatures, added]
    (bundle / ATTESTATION).write_bytes(canonical_json(told))


def url_alphabet(bundle: Path, _: Workshop) -> None:
    """Write the signature in the other base64 alphabet."""
    told = json.loads((bundle / ATTESTATION).read_bytes())
    text = told["signatures"][0]["sig"]
    told["signatures"][0]["sig"] = text.replace("+", "-").replace("/", "_").rstrip("=")
    (bundle / ATTESTATION).write_bytes(canonical_json(told))


def loose_bits(bundle: Path, _: Workshop) -> None:
    """Set the bits of the signature's last digit that decoding throws away."""
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    told = json.loads((bundle / ATTESTATION).read_bytes())
    text = told["signatures"][0]["sig"]
    last = digits[digits.index(text[-3]) + 1]
    told["signatures"][0]["sig"] = f"{text[:-3]}{last}=="
    (bundle / ATTESTATION).write_bytes(canonical_json(told))


def public_key(bundle: Path, _: Workshop, *, key: str = "", note: str = "") -> None:
    """Put another public key in, an RSA one where none is named, or a note before it."""
    if key:
        content = _key(key).public_pem
    else:
        made = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
        content = made.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (bundle / "public-key.pem").write_bytes(note.encode() + content)


def render(bundle: Path, _: Workshop) -> None:
    """Make report and exports again, as they show what the statement and the data now say."""
    run = Run.model_validate_json((bundle / RUN).read_bytes())
    page = render_again(
        bundle,
        run,
        read_journal([bundle / "data/journal.jsonl"]),
        parse_statement(_envelope(bundle).payload),
    )
    (bundle / "data/report.html").write_bytes(page)
    for path, content in exports.render_all(run).items():
        (bundle / path).write_bytes(content)


def take_signature(bundle: Path, shop: Workshop, *, sample: str) -> None:
    """Put in the signature of another bundle, over other bytes."""
    other = json.loads((shop.samples[sample] / ATTESTATION).read_bytes())
    envelope(bundle, shop, at=["signatures"], value=json.dumps(other["signatures"]))


def claim_keyid(bundle: Path, shop: Workshop, *, key: str) -> None:
    """Put another key's id in the envelope."""
    envelope(bundle, shop, at=["signatures", 0, "keyid"], value=json.dumps(_key(key).keyid))


def forget(bundle: Path, _: Workshop, *, path: str) -> None:
    """Sign a statement that leaves one file out."""
    told = parse_statement(_envelope(bundle).payload)
    kept = tuple(file for file in told.files if file.path != path)
    assert len(kept) == len(told.files) - 1, f"statement: got no {path}"
    _attest(bundle, format_statement(told.model_copy(update={"files": kept})), _key("signer"))


def other_subject(bundle: Path, _: Workshop) -> None:
    """Sign a statement whose first subject has another digest."""
    payload = _envelope(bundle).payload
    before, found, after = payload.partition(b'"subject":[{"digest":{"sha256":"')
    _attest(bundle, before + found + b"0" * 64 + after[64:], _key("signer"))


def chain(bundle: Path, shop: Workshop, *, sample: str) -> None:
    """Say in run and statement that a sample is the bundle before this one, and seal."""
    previous = json.dumps(digest_of((shop.samples[sample] / ATTESTATION).read_bytes()))
    edit(bundle, shop, path=RUN, at=["bindings", "previous"], value=previous)
    seal(bundle, shop, claims=f'{{"previous":{previous}}}')
    render(bundle, shop)
    seal(bundle, shop)


def leave_out(bundle: Path, shop: Workshop, *, criterion: str) -> None:
    """Take a criterion out of catalogue, run and statement, and judge and seal what is left."""
    whole = parse_catalogue((bundle / CATALOGUE).read_bytes())
    kept = tuple(one for one in whole.criteria if one.id != criterion)
    catalogue = Catalogue(criteria=kept)
    (bundle / CATALOGUE).write_bytes(catalogue.content)
    judged = judge(
        kept,
        read_journal([bundle / "data/journal.jsonl"]),
        parse_waivers((bundle / "data/waivers.json").read_bytes()),
    )
    told = Run.model_validate_json((bundle / RUN).read_bytes())
    update = {**vars(judged), "catalogue_digest": catalogue.digest}
    changed = told.model_copy(update=update)
    (bundle / RUN).write_text(changed.model_dump_json(by_alias=True, indent=2))
    _seal_catalogue(bundle, shop, changed, catalogue.ids)


def respell_catalogue(bundle: Path, shop: Workshop) -> None:
    """Write the catalogue with blanks, and have run and statement name its digest."""
    told = json.loads((bundle / CATALOGUE).read_bytes())
    (bundle / CATALOGUE).write_text(json.dumps(told, indent=2))
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
    said: str = "{}",
    minutes: int = 10,
) -> None:
    """Put a sign-off in.

    Args:
        bundle: the folder.
        shop: has the keys.
        by: whose key signs; a run's key where it is one of those.
        signer: the name that is claimed; the key's owner by default.
        namespace: what the signature is made for.
        said: what the statement says otherwise, as JSON.
        minutes: after sealing.

    """
    told = {
        "attestation": digest_of((bundle / ATTESTATION).read_bytes()),
        "report": digest_of((bundle / "data/report.html").read_bytes()),
        "result": json.loads((bundle / "data/run.json").read_bytes())["result"],
        "signer": signer or f"{by}@x.org",
        "at": SEALED + timedelta(minutes=minutes),
        "phase": None,
        "reservations": None,
        **json.loads(said),
    }
    statement = Statement.model_validate(told)
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
