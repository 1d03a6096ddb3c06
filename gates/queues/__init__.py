"""Gate queues."""
