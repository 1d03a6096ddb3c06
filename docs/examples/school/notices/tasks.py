"""The jobs that write notices."""

from __future__ import annotations

from celery import shared_task

from notices.models import Notice
from register.models import Absence
from school.tenancy import of_school


@shared_task
def write_notices(school_id: str, day: str) -> int:
    """Write a notice about each absence of a day without an excuse, and return their number."""
    with of_school(school_id) as school:
        absences = Absence.objects.filter(day=day, excused=False, notice=None)
        notices = [
            Notice(school_id=school, absence=one, text=f"Falta el {day}") for one in absences
        ]
        Notice.objects.bulk_create(notices, ignore_conflicts=True)
        return len(notices)
