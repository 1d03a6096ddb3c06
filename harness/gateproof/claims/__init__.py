"""What a check states: premises, and claims about the system, each of them recorded."""
