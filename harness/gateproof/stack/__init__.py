"""A running system: its database, its processes, and copies of it for proofs."""
