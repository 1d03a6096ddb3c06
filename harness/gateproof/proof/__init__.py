"""The proof that a check can fail, and the proof of the harness itself."""
