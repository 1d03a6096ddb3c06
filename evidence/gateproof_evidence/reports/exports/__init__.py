"""The run in formats that other tools read, one format a module."""
