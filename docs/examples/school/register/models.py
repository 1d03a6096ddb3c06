"""Schools, pupils and absences."""

from __future__ import annotations

import uuid

from django.db import models


class School(models.Model):
    """A school: the tenant of all other rows."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    name = models.CharField(max_length=100, unique=True)


class Pupil(models.Model):
    """A pupil of a school."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    school = models.ForeignKey(School, models.CASCADE)
    name = models.CharField(max_length=100)
    born = models.DateField()


class Absence(models.Model):
    """A day on which a pupil is absent."""

    school = models.ForeignKey(School, models.CASCADE)
    pupil = models.ForeignKey(Pupil, models.CASCADE)
    day = models.DateField()
    excused = models.BooleanField(default=False)

    class Meta:
        """A pupil is absent once a day."""

        constraints = (models.UniqueConstraint(fields=("pupil", "day"), name="once_a_day"),)
