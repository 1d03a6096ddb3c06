"""Checks a sealed bundle, trusting nothing that it says of itself."""
