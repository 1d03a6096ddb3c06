"""The jobs of the register."""

from __future__ import annotations

from celery import shared_task

from register.models import Absence
from school.tenancy import of_school


@shared_task
def count_absences(school_id: str, day: str) -> int:
    """Return how many pupils of a school are absent on a day."""
    with of_school(school_id):
        return Absence.objects.filter(day=day).count()


@shared_task
def excuse(school_id: str, pupil_id: str) -> int:
    """Excuse all absences of a pupil, and return how many were not excused yet."""
    with of_school(school_id):
        return Absence.objects.filter(pupil_id=pupil_id, excused=False).update(excused=True)
