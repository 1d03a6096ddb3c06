"""A third system: a schema of any number of tenant tables in many shapes, and no tenant tasks.

It is the shop with other tables: keys of type bigint and text under a quoted name, two schemas, a
partitioned table, column types of every kind, and a second setting that a restrictive policy reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.shop import write_shop

COLUMNS = (
    "id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, label text NOT NULL",
    "id uuid DEFAULT gen_random_uuid() PRIMARY KEY, mood acme_mood NOT NULL, moods acme_mood[]",
    "code varchar(12) PRIMARY KEY, amount numeric(6, 2) NOT NULL CHECK (amount > 10)",
    (
        '"Line No" serial PRIMARY KEY, "Größe" acme_size, starts date NOT NULL, ends date NOT NULL,'
        " CHECK (ends > starts)"
    ),
    "data jsonb NOT NULL CHECK (jsonb_typeof(data) = 'object'), during tstzrange NOT NULL",
    "a integer NOT NULL, b smallint NOT NULL, PRIMARY KEY (a, b), mail acme_mail NOT NULL",
    (
        "status text NOT NULL DEFAULT 'new' CHECK (status IN ('new', 'done')), closed timestamptz,"
        " CHECK ((status = 'done') = (closed IS NOT NULL)), id serial UNIQUE"
    ),
    "place acme_place NOT NULL, net inet NOT NULL, raw bytea NOT NULL, id serial PRIMARY KEY",
)
"""Columns of the tables in turn, without the key of the tenant."""

TYPES = """
CREATE TYPE acme_mood AS ENUM ('fine', 'not so fine');
CREATE TYPE acme_place AS (street text, number integer);
CREATE DOMAIN acme_mail AS text CHECK (VALUE ~ '^[^@]+@[^@]+$');
CREATE DOMAIN acme_size AS integer CHECK (VALUE BETWEEN 3 AND 5);
CREATE SCHEMA "Sales Data";
GRANT USAGE ON SCHEMA "Sales Data" TO shop, shop_reader, shop_operator;
"""

TENANCY = """[tenancy]
guc = "acme.account"
key = "Account Id"
tables = {tables}
context = {{ "acme.user" = "7" }}

[tenancy.seed."Members"]
user_id = "7"

[tenancy.shared]
celery_taskmeta = "results"
celery_tasksetmeta = "groups"
kombu_message = "messages"
kombu_queue = "queues"
shop_failures = "failures of all"
"""

MEMBERS = """
ALTER TABLE "Members" ADD COLUMN user_id integer NOT NULL;
CREATE POLICY of_user ON "Members" AS RESTRICTIVE USING
    (user_id = nullif(current_setting('acme.user', true), '')::integer);
"""


def table_names(number: int) -> list[str]:
    """Return the names of the tables as SQL: every fifth one is in a schema of its own."""
    more = (
        f'"Sales Data"."Order {place}"' if place % 5 == 4 else f"orders_{place}"
        for place in range(number - 2)
    )
    return ['"Members"', "by_month", *more]


def write_tenants(
    folder: Path, *, tables: int, discover: bool = False, worker: bool = True
) -> Path:
    """Write the system with a number of tenant tables, and return the path of its description.

    Args:
        folder: a new folder.
        tables: the number of tables, 2 or more.
        discover: whether the description has them discovered instead of listing them.
        worker: whether the description has more than the database, its migrations and tenants.

    """
    described = write_shop(folder)
    names = table_names(tables)
    _append(folder / "sql" / "up.sql", "\n".join(_schema(names)))
    _append(folder / "sql" / "server.sql", "CREATE ROLE shop_operator LOGIN;")
    database = "GRANT CREATE ON DATABASE {} TO shop_owner;"
    block = f"DO $$ BEGIN EXECUTE format('{database.format('%I')}', current_database()); END $$;"
    _append(folder / "sql" / "database.sql", block)
    listed = ", ".join(f"'{name}'" for name in names)
    text = described.read_text(encoding="utf-8")
    start = text.index('[[absent]]\nfeature = "tenancy"')
    end = text.index("[[absent]]", start + 1)
    tenancy = TENANCY.format(tables='"discover"' if discover else f"[{listed}]")
    text = f"{text[:start]}{tenancy}\n{text[end:]}"
    text = text.replace('roles = ["shop_reader"]', 'roles = ["shop_reader", "shop_operator"]')
    if not worker:
        text = f"{text[: text.index('[celery]')]}{text[text.index('[tenancy]') :]}"
        text = text[: text.index("[[absent]]")].replace('roles = ["', 'roles = ["shop", "')
    described.write_text(text, encoding="utf-8")
    return described


def _append(path: Path, text: str) -> None:
    path.write_text(f"{path.read_text(encoding='utf-8')}\n{text}\n", encoding="utf-8")


def _schema(names: list[str]) -> Iterator[str]:
    yield TYPES
    for number, name in enumerate(names):
        kind = "bigint" if number % 2 else "text"
        key = f'"Account Id" {kind} NOT NULL'
        if name == "by_month":
            yield f"CREATE TABLE {name} ({key}, at date NOT NULL) PARTITION BY RANGE (at);"
            for month in (1, 2):
                bounds = f"FROM ('2024-0{month}-01') TO ('2024-0{month + 1}-01')"
                yield f"CREATE TABLE {name}_{month} PARTITION OF {name} FOR VALUES {bounds};"
                yield f"ALTER TABLE {name}_{month} ENABLE ROW LEVEL SECURITY;"
                yield f"ALTER TABLE {name}_{month} FORCE ROW LEVEL SECURITY;"
        else:
            yield f"CREATE TABLE {name} ({key}, {COLUMNS[number % len(COLUMNS)]});"
        own = f"\"Account Id\" = nullif(current_setting('acme.account', true), '')::{kind}"
        yield f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY;"
        yield f"ALTER TABLE {name} FORCE ROW LEVEL SECURITY;"
        yield f"CREATE POLICY own ON {name} USING ({own}) WITH CHECK ({own});"
        yield f"GRANT SELECT, INSERT, UPDATE, DELETE ON {name} TO shop, shop_operator;"
        yield f"GRANT SELECT ON {name} TO shop_reader;"
    yield MEMBERS
    yield "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO shop, shop_operator;"
