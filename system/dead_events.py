"""Run the operators' command for dead events: `python -m system.dead_events`."""

from __future__ import annotations

from system.commands.dead_events import main

if __name__ == "__main__":
    main(prog_name="python -m system.dead_events")
