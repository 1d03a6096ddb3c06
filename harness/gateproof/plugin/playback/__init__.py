"""Playback: what the fixtures of a check answered is recorded, and a check can be run on it again.

A check sees its system only through fixtures. So its code can be run again without the system, and
changed code can be run on old evidence, as long as it asks what was asked before.

- `gateproof.probes.answers` records the answers of a check that runs.
- `player`: gives the recorded answers to a check that is played back.
- `session`: the pytest plugin that plays checks back; `play` starts it.

Source: docs/reference/playback.md; docs/decisions/0041-checks-are-played-back.md.
"""
