"""Run the command: `python -m system.mocks`."""

from __future__ import annotations

from system.commands.mocks import main

if __name__ == "__main__":
    main(prog_name="python -m system.mocks")
