"""The falsifiers that a system has of its own: the file ``falsifiers.toml`` next to ``sut.toml``.

They change the system's own code, so they belong to it and not to the checks of a pack.
"""
