"""The proof that a check can fail, and the self-proof of the harness."""
