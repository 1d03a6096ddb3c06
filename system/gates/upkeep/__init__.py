"""Tables of expressions about tasks, events, monitoring and health, and the check of them."""
