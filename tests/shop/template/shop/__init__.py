"""The shop: one queue, one task, stock kombu."""
