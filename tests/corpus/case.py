"""A case of the corpus: its folder has ``README.md``, for people and tests, and ``recipe.toml``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

CORPUS = Path(__file__).parent
FAIL, PASS = "_fail", "_pass"

_README = re.compile(
    r"# (?P<title>[^\n]+)\n\n"
    r"\*\*Done:\*\* (?P<done>.+?)\n\n"
    r"\*\*Must (?P<must>fail|pass):\*\* (?P<why>.+?)\n\n"
    r"\*\*gateproof verify:\*\* (?P<says>.+?)\.\n\n"
    r"\*\*verify\.sh:\*\* (?P<script>refuses|accepts)\.(?P<because>.*)\n",
    re.DOTALL,
)
_OTHERS = ", and others"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One forged bundle, or a valid one, and the expected findings."""

    name: str
    title: str
    must_fail: bool
    findings: tuple[str, ...]
    """Code and path of each finding of `gateproof verify`; empty if there is none."""
    exactly: bool
    """Whether there are no other findings."""
    script_refuses: bool
    because: str
    """Why the script accepts a bundle that must fail."""

    @property
    def recipe(self) -> Path:
        """Return the path of the recipe."""
        return CORPUS / self.name / "recipe.toml"


def read_case(folder: Path) -> Case:
    """Read a case's README, which has a fixed form.

    Raises:
        ValueError: the README has another form.

    """
    text = (folder / "README.md").read_text(encoding="utf-8")
    match = _README.fullmatch(text)
    if match is None:
        raise ValueError(
            f"{folder.name}/README.md: got another form, expected a title and the paragraphs "
            "Done, Must fail (or pass), gateproof verify and verify.sh"
        )
    says = " ".join(match["says"].split())
    return Case(
        name=folder.name,
        title=match["title"],
        must_fail=match["must"] == "fail",
        findings=tuple(re.findall(r"`([^`]+)`", says)),
        exactly=not says.endswith(_OTHERS),
        script_refuses=match["script"] == "refuses",
        because=" ".join(match["because"].split()),
    )


def read_corpus() -> tuple[Case, ...]:
    """Read every case, sorted by name."""
    folders = sorted(path for path in CORPUS.iterdir() if path.name.endswith((FAIL, PASS)))
    return tuple(read_case(folder) for folder in folders)
