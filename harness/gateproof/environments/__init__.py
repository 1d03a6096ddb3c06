"""The environments that the system runs in, one per module, behind the protocols of `interface`."""
