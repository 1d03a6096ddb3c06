"""The commands of `gateproof`, one a module."""
