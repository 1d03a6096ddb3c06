"""A folder for PYTHONPATH, with what stands in for clients of other brokers."""
