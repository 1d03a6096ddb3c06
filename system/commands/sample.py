"""Print a signed event of Stripe as JSON: `python -m system.commands.sample`.

Registers an endpoint for a new tenant, whose secret is the file `sample` in the folder of secrets.
So an operator, or a check, can send a delivery that the service accepts. Each run gives another
event.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import sys
import time
import uuid
from contextlib import closing
from pathlib import Path

import psycopg2

FILE = "sample"
FOLDER = "/run/secrets"

_TENANT = "SELECT set_config('app.current_tenant_id', %s, false)"
_REGISTER = (
    "INSERT INTO webhook_endpoints (tenant_id, vendor, token_digest, secret_ref)"
    " VALUES (%s, 'stripe', %s, %s)"
)


def register(dsn: str) -> str:
    """Register an endpoint of a new tenant as `app_rw`, and return its token."""
    tenant, token = str(uuid.uuid4()), secrets.token_urlsafe(16)
    digest = hashlib.sha256(token.encode()).hexdigest()
    with closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(_TENANT, (tenant,))
        cursor.execute(_REGISTER, (tenant, digest, FILE))
    return token


def signed(secret: str) -> tuple[dict[str, str], str]:
    """Return the headers and the body of a new event, as Stripe signs it."""
    now = int(time.time())
    event = {
        "id": f"evt_{uuid.uuid4().hex}",
        "object": "event",
        "type": "charge.succeeded",
        "created": now,
        "data": {"object": {"id": "ch_1"}},
    }
    body = json.dumps(event)
    mac = hmac.new(secret.encode(), f"{now}.{body}".encode(), hashlib.sha256).hexdigest()
    headers = {"content-type": "application/json", "stripe-signature": f"t={now},v1={mac}"}
    return headers, body


def main() -> None:
    """Print the request as one JSON object."""
    folder = Path(os.environ.get("SYSTEM_WEBHOOK_SECRETS", FOLDER))
    headers, body = signed((folder / FILE).read_text(encoding="utf-8").strip())
    path = f"/webhooks/stripe/{register(os.environ['DATABASE_URL'])}"
    request = {"method": "POST", "path": path, "headers": headers, "body": body}
    sys.stdout.write(json.dumps(request) + "\n")


if __name__ == "__main__":
    main()
