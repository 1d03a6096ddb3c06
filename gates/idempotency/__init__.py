"""Gate idempotency."""
