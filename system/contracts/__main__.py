"""Run the command: `python -m system.contracts`."""

from __future__ import annotations

from system.commands.contracts import main

if __name__ == "__main__":
    main(prog_name="python -m system.contracts")
