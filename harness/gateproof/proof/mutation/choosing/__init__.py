"""Which checks run with a mutant, and the chance of each to kill it."""
