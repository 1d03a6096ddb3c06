"""Run the operators' command: `python -m system.dead_letters`."""

from __future__ import annotations

from system.commands.dead_letters import main

if __name__ == "__main__":
    main(prog_name="python -m system.dead_letters")
