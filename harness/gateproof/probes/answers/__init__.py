"""The answers that fixtures give to a check, recorded so that the check can be played back.

- `value`: answers as JSON, and back.
- `request`: the digest of what a check asked.
- `boundary`: stand-ins for fixtures, which record.

`gateproof.plugin.playback` reads what is written here.
"""
