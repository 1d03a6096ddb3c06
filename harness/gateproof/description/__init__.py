"""The description of the system under test: ``sut.toml``, its features, and who needs which.

All that the harness knows about a system comes from here. Leaves starting the system to
`gateproof.stack`.
"""
