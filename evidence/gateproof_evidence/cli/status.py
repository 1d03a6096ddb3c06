"""The exit statuses of every command.

Source: spec, "Exit status".
"""

WHOLE, FINDINGS, BAD_INPUT = 0, 1, 4
