"""Gate broker: the operations of a queue, each with its exact result."""
