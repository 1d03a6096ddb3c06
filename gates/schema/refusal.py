"""Refusals of PostgreSQL in words: a reader of a finding need not know the number.

Source: PostgreSQL documentation, appendix "PostgreSQL Error Codes".
"""

from __future__ import annotations

from gateproof import Refused

MEANINGS = {
    "23502": "not-null violation",
    "23503": "foreign-key violation",
    "23505": "unique violation",
    "23514": "check violation",
    "42501": "insufficient privilege",
    "42P01": "no such table",
    "P0001": "raised by a function",
}


def named(refused: Refused) -> str:
    """Return the SQLSTATE of a refusal, and what it means if it is one of the usual ones."""
    meaning = MEANINGS.get(refused.sqlstate)
    return f"{refused.sqlstate} ({meaning})" if meaning else refused.sqlstate
