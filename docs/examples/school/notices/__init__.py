"""The notices that families get."""
