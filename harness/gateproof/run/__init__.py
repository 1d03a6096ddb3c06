"""One run of the gates: options, declarations, writers, and the way to a sealed bundle."""
