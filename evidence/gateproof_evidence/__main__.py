"""``python -m gateproof_evidence`` is the command line."""

from gateproof_evidence.cli import main

main()
