"""A folder for PYTHONPATH: its `sitecustomize` changes processes of the system at their start."""
