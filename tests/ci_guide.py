"""The examples of the guide to CI: its GitLab file, and its steps for a signing key."""

from __future__ import annotations

import re
from pathlib import Path

GUIDE = Path(__file__).parents[1] / "docs" / "how-to" / "run-in-ci.md"


def guide_step(name: str) -> str:
    """Return the text of a step of the guide."""
    blocks = re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    [found] = [block for block in blocks if f"- name: {name}" in block]
    return str(found)


def with_key() -> tuple[tuple[str, str], ...]:
    """Return where the guide adds its steps for a signing key to the workflow."""
    gates, last = (
        "      - run: make gates\n",
        "      - name: verify with openssl and sha256sum only\n",
    )
    return (
        (gates, guide_step("write the signing key, where the run has one") + gates),
        (last, guide_step("verify who signed, where the run has the key") + last),
    )


def gitlab_file() -> str:
    """Return the GitLab file of the guide."""
    blocks = re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    [found] = [block for block in blocks if "stages:" in block]
    return str(found)
