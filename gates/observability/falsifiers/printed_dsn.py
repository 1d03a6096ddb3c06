"""Every process of the system prints its DSN when it starts."""

from __future__ import annotations

import os
import sys

print("connecting to", os.environ.get("DATABASE_URL"), file=sys.stderr)  # noqa: T201 (the fault)
