"""What tasks, retries, receiving and monitoring do with each case of a table."""
