"""A change to the system's processes; see sitecustomize.py."""
