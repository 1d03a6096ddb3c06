"""A Django project for several schools: who is absent, and what the families are written.

A third example for gateproof, made after Celery's page "First steps with Django": settings, apps,
models and migrations are Django's, and django-celery-results keeps the results.
"""

from school.celery import app as celery_app

__all__ = ("celery_app",)
