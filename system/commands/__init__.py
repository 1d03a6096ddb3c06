"""The command-line interfaces; `python -m system.dead_letters` runs `dead_letters` here."""
