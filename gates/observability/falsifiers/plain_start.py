"""The worker greets in plain text."""

from __future__ import annotations

import os
import sys

if "worker" in " ".join(sys.orig_argv):
    os.write(1, b"booting ...\n")
