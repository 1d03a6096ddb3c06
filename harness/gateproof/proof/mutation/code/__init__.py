"""The mutants of Python source, as replacements of text, by pure functions.

`edits_of` returns all mutants of a file, and `same_bytecode` recognises one that changes nothing.
ADR 35 has the operators and what they leave out. Leaves the choice of files and running the checks
to the rest of `gateproof.proof.mutation`.
"""

from __future__ import annotations

from gateproof.proof.mutation.code.bytecode import same_bytecode
from gateproof.proof.mutation.code.edit import Edit
from gateproof.proof.mutation.code.edits import edits_of

__all__ = ["Edit", "edits_of", "same_bytecode"]
