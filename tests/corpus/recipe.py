"""Make the bundle of a case: a small sealed bundle with fixed keys, changed by a recipe's steps.

A recipe is ``recipe.toml``: the sample to start from, the steps, and the options of verification.
Each step is a function in `tests.corpus.files` or `tests.corpus.seals`, named by ``do``; its other
fields are its arguments.
"""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from gateproof_evidence.additions.reviewer import Policy
from gateproof_evidence.verification.expectation import Expectation, parse_age, read_previous
from tests.corpus import files, seals
from tests.corpus.workshop import Workshop
from tests.sample import SEALED

NOW = SEALED + timedelta(days=1)
"""The time of verification."""

STEPS: Mapping[str, Callable[..., None]] = {
    step.__name__: step for step in (*files.STEPS, *seals.STEPS)
}


@dataclass(frozen=True, kw_only=True)
class Made:
    """The bundle of a case, and the options of its verification."""

    bundle: Path
    key: Path | None
    """The public key for verification, from outside."""
    expect: Expectation
    policy: Policy
    now: datetime = NOW


def make(recipe: Path, shop: Workshop, target: Path) -> Made:
    """Make a bundle by a recipe.

    Args:
        recipe: the ``recipe.toml``.
        shop: the samples and keys.
        target: the folder for the bundle.

    """
    content = tomllib.loads(recipe.read_text(encoding="utf-8"))
    unknown = content.keys() - {"sample", "step", "ask"}
    assert not unknown, f"{recipe}: got the keys {sorted(unknown)}, expected sample, step and ask"
    shutil.copytree(shop.samples[content.get("sample", "blocked")], target)
    for step in content.get("step", ()):
        STEPS[step.pop("do")](target, shop, **step)
    return _asked(target, shop, content.get("ask", {}))


def _asked(bundle: Path, shop: Workshop, ask: dict[str, Any]) -> Made:
    known = {"key", "released", "commit", "clean", "max_age", "previous", "signoffs", "revoked"}
    known |= {"checks", "catalogue", "report"}
    assert ask.keys() <= known, f"ask: got {sorted(ask)}, expected some of {sorted(known)}"
    allowed = "".join(
        f"{name}@x.org {shop.public_line(key)}\n"
        for name, key in (("ada", "ada"), ("ada", "ada-again"), ("bob", "bob"))
    )
    revoked = "".join(f"{shop.public_line(name)}\n" for name in ask.get("revoked", ()))
    reviewed = "signoffs" in ask
    return Made(
        bundle=bundle,
        key=shop.folder / f"{ask['key']}.pem" if "key" in ask else None,
        expect=Expectation(
            released=ask.get("released", False),
            commit=ask.get("commit"),
            clean=ask.get("clean", False),
            max_age=parse_age(ask["max_age"]) if "max_age" in ask else None,
            previous=read_previous(shop.samples[ask["previous"]]) if "previous" in ask else None,
            checks=tuple(ask.get("checks", ())),
            catalogue=ask.get("catalogue"),
            report=ask.get("report", False),
        ),
        policy=Policy(
            required=ask.get("signoffs", 0),
            allowed_signers=allowed.encode() if reviewed else None,
            revoked=revoked.encode() if revoked else None,
        ),
    )
