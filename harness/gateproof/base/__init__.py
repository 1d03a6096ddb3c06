"""Shared by all other packages: errors, waiting, options, files and git."""
