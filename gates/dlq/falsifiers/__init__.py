"""Changes to the worker's processes: failures that nobody writes down."""
