"""Run Alembic's migrations on one connection as the migration role, one transaction per revision.

Accepts `DATABASE_URL` in every form that the system accepts, and prints neither it nor its
password. `provision/` makes roles and the server's privileges. Online only: a generated SQL script
proves no migration.
"""

from __future__ import annotations

import logging
import os
import sys

from alembic import context
from alembic.util import CommandError
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from system.errors import ConfigurationError
from system.settings import sqlalchemy_url


def _database_url() -> str:
    try:
        return sqlalchemy_url(os.environ.get("DATABASE_URL", ""), name="DATABASE_URL")
    except ConfigurationError as error:
        raise CommandError(str(error)) from None


def _log_to_stderr() -> None:
    """Log which revision runs; SQLAlchemy's own loggers, which could print values, stay silent."""
    logger = logging.getLogger("alembic.runtime.migration")
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
        logger.addHandler(handler)
    logger.setLevel(logging.INFO)


def _migrate() -> None:
    engine = create_engine(
        _database_url(),
        poolclass=NullPool,
        hide_parameters=True,
        connect_args={"application_name": "system-migrations", "connect_timeout": 10},
    )
    try:
        connection = engine.connect()
    except OperationalError as error:
        raise CommandError(
            f"database: got no connection ({str(error.orig).strip()}), "
            "expected PostgreSQL at DATABASE_URL; start it or correct the address"
        ) from None
    with connection:
        context.configure(connection=connection, transaction_per_migration=True)
        with context.begin_transaction():
            context.run_migrations()


if context.is_offline_mode():
    raise CommandError("migrations: got --sql, expected a database; run without it")
_log_to_stderr()
_migrate()
