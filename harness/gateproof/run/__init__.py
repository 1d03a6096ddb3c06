"""One run of the gates: options, declarations, writers, and the sealed bundle."""
