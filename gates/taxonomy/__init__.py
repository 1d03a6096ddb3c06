"""Gate taxonomy: the outcomes, causes and proofs that the harness reports."""
