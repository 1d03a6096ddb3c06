"""Run the service: `python -m system.api`."""

from __future__ import annotations

import os
import sys

import click


@click.command(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit status: 0 stopped by a signal; 1 an error; 2 wrong usage.",
)
def serve() -> None:
    """Receive the events of vendors over HTTP, until SIGTERM or SIGINT.

    \b
    DATABASE_URL                 the database, as the role app_ingest
    SYSTEM_API_ADDRESS           the address to listen on (127.0.0.1)
    SYSTEM_API_PORT              its port (8000)
    SYSTEM_API_PROCESSES         the number of processes (1)
    SYSTEM_API_THREADS           threads, and connections, of each process (4)
    SYSTEM_API_DEADLINE_S        seconds until an answer (3)
    SYSTEM_API_CLIENT_S          seconds that a client may take for a head, and for a body (5)
    SYSTEM_HEALTH_DEADLINE_S     seconds until an answer about health (2)
    SYSTEM_WEBHOOK_SECRETS       folder of files with secrets (/run/secrets)
    SYSTEM_PAYPAL_CERTIFICATES   folder of trusted certificates in PEM (/etc/paypal)
    SYSTEM_METRICS_TENANT_LABEL  whether metrics name the tenant (true)
    SYSTEM_DEAD_LETTER_KEYS      keys that encrypt what is masked in dead events
    SYSTEM_DEAD_EVENT_PAUSE_S    seconds until a dead event's first retry, then doubled (1)
    """  # noqa: D301 (click's own mark)
    from system.api.processes.parent import main

    status = main()
    sys.stdout.flush()
    os._exit(status)  # (the thread of the output must not print after it)


if __name__ == "__main__":
    serve(prog_name="python -m system.api")
