"""Gate dlq."""
