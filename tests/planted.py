"""Invalid secrets of the kinds that systems leak, in the forms in which they appear, for tests.

Each is joined from parts at run time, so that no scanner reports this file.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of secret."""

    name: str
    secret: str
    """The value that must not appear in any output."""
    line: str
    """The secret in a log line, a message or the value of a query."""
    variable: tuple[str, str]
    """The secret in an environment variable: name and value."""
    column: str = "value"
    """The name of a column that holds only the secret, when its form does not identify it."""

    @property
    def bare(self) -> bool:
        """Whether only a name next to the secret identifies it, and not its form."""
        return self.column != "value"


def _mixed(*parts: str) -> str:
    return "".join(parts)


_BASIC = base64.b64encode(b"deploy:" + b"Tr0ub4dor-and-3").decode()
_KEY_BODY = "\n".join("MIIEvQIBADANBgkqhkiG9w0BAQEFAASC" + f"{row:02d}Kj3" for row in range(4))
_KEY = _mixed("-----BEGIN ", "PRIVATE KEY-----\n", _KEY_BODY, "\n-----END PRIVATE KEY-----")
_JWT = ".".join(("eyJhbGciOiJIUzI1NiJ9", "eyJzdWIiOiI0NzExIn0", "Zm9yLW5vYm9keS1idXQtdXM"))
_AWS_ID = _mixed("AKIA", "IOSFODNN7", "EXAMPLE")
_AWS_SECRET = _mixed("wJalrXUtnFEMI/K7MDENG/", "bPxRfiCYEXAMPLEKEY")
_GITHUB = _mixed("ghp_", "16C7e42F292c6912E7", "710c838347Ae178B4a")
_SCRAM = _mixed(
    "SCRAM-SHA-256$4096:",
    "W22ZaJ0SNY7soEsUEjb6gQ==$",
    "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=",
)
_SLACK = _mixed("xoxb-", "210987654321-", "abcdefGHIJKL0123")

KINDS = (
    Kind(
        name="basic-auth",
        secret=_BASIC,
        line=f"> Authorization: Basic {_BASIC}",
        variable=("UPSTREAM_HEADER", f"Basic {_BASIC}"),
        column="auth_key",
    ),
    Kind(
        name="x-api-key",
        secret="k3y-0f-the-upstream",
        line="> X-Api-Key: k3y-0f-the-upstream",
        variable=("UPSTREAM_API_KEY", "k3y-0f-the-upstream"),
        column="api_key",
    ),
    Kind(
        name="cookie",
        secret="s3ssion-0815-of-ada",
        line="> Cookie: theme=dark; session=s3ssion-0815-of-ada",
        variable=("SESSION_SECRET", "s3ssion-0815-of-ada"),
        column="session_token",
    ),
    Kind(
        name="amqp-password",
        secret="r4bbit-hole-9",
        line="connecting to amqp://worker:r4bbit-hole-9@mq.example.org:5672/prod",
        variable=("CELERY_BROKER_URL", "amqps://worker:r4bbit-hole-9@mq.example.org/prod"),
        column="password",
    ),
    Kind(
        name="postgres-password",
        secret="correcthorsebattery",
        line="POSTGRES_PASSWORD=correcthorsebattery",
        variable=("POSTGRES_PASSWORD", "correcthorsebattery"),
        column="password",
    ),
    Kind(
        name="aws-secret",
        secret=_AWS_SECRET,
        line=f"aws_secret_access_key = {_AWS_SECRET}",
        variable=("AWS_SECRET_ACCESS_KEY", _AWS_SECRET),
        column="aws_secret_access_key",
    ),
    Kind(
        name="hash-column",
        secret=_SCRAM,
        line=f"role app_user has {_SCRAM}",
        variable=("APP_USER_VERIFIER", _SCRAM),
    ),
    Kind(
        name="private-key",
        secret=_KEY_BODY.splitlines()[1],
        line=_KEY,
        variable=("TLS_KEY", _KEY.replace("\n", "\\n")),
    ),
    Kind(name="jwt", secret=_JWT, line=f"refused the bearer {_JWT}", variable=("ID", _JWT)),
    Kind(name="github-token", secret=_GITHUB, line=f"remote: {_GITHUB}", variable=("GH", _GITHUB)),
    Kind(
        name="aws-key-id", secret=_AWS_ID, line=f"signed by {_AWS_ID}", variable=("AWS_ID", _AWS_ID)
    ),
    Kind(
        name="quoted-password",
        secret="hunter-two-2",
        line="settings: {'db': {'password': 'hunter-two-2', 'port': 5432}}",
        variable=("DB_OPTIONS", '{"password": "hunter-two-2", "port": 5432}'),
        column="passwd",
    ),
    Kind(name="slack-token", secret=_SLACK, line=f"posting as {_SLACK}", variable=("S", _SLACK)),
)
