"""Running systems: a database, the processes that use it, and copies of both for proofs."""
