"""Changes to Celery in workers and publishers: tasks that go or are taken where they should not."""
