"""Django's settings of the schools."""

from __future__ import annotations

import os

from psycopg.conninfo import conninfo_to_dict

# Importing the project demands no variable: the tools that read it have no database. The name is
# in lower case, because `celery report` prints the settings of Django with their passwords.
address = os.environ.get("SCHOOL_DATABASE_URL", "postgresql://none@127.0.0.1:9/none")
"""The address of the database: ``postgresql://...``."""
_parts = {name: str(value) for name, value in conninfo_to_dict(address).items()}

SECRET_KEY = os.environ.get("SCHOOL_SECRET_KEY", "")  # Django refuses to use an empty one
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django_celery_results",
    "school",
    "broker",
    "register",
    "notices",
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": _parts.pop("dbname"),
        "USER": _parts.pop("user"),
        "PASSWORD": _parts.pop("password", ""),
        "HOST": _parts.pop("host"),
        "PORT": _parts.pop("port", ""),
        "OPTIONS": _parts,
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

LANGUAGE_CODE = "es"
TIME_ZONE = "Europe/Madrid"
USE_TZ = True

# The URL of the broker is in school/celery.py.
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# The results are rows without a school, so they keep no arguments: no CELERY_RESULT_EXTENDED.
CELERY_RESULT_BACKEND = "django-db"
CELERY_TIMEZONE = TIME_ZONE
CELERY_TASK_DEFAULT_QUEUE = "register"
CELERY_TASK_ROUTES = {"notices.tasks.*": {"queue": "notices"}}
