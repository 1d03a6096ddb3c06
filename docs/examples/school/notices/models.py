"""Notices to families."""

from __future__ import annotations

from django.db import models

from register.models import Absence, School


class Notice(models.Model):
    """A notice about an absence."""

    school = models.ForeignKey(School, models.CASCADE)
    absence = models.OneToOneField(Absence, models.CASCADE)
    text = models.TextField()
    written_at = models.DateTimeField(auto_now_add=True)
