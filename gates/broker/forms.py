"""The forms of a DSN that a system accepts, and pings that are published with each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateproof import NotReadyError, Stack, Sut

RESULT_DEADLINE_S = 20.0
"""How long a result may take, including the start of its worker."""

SILENT = "it printed nothing"
"""The end of the message of a program that printed no reason; a slow machine is one."""

DESCRIBED = "described form"
TLS = "described form that demands TLS"
"""Names of forms that every system has, which falsifiers predict."""

_LIBPQ = "sslmode=prefer&channel_binding=prefer"
PARAMETERS = {
    "postgresql": _LIBPQ,
    "postgresql+asyncpg": "ssl=prefer&prepared_statement_cache_size=0",
    "postgresql+psycopg2": "sslmode=prefer&connect_timeout=10",
    "postgresql+psycopg": _LIBPQ,
}
"""Maps each form to parameters that its own driver accepts."""
ASYNCPG = "postgresql+asyncpg"
"""The form whose driver names the parameter of TLS otherwise than libpq."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """One accepted form of the DSN."""

    driver: str
    """The URL's scheme."""
    query: str
    name: str = ""
    """The name in claims; by default, the form itself."""

    def __str__(self) -> str:
        return self.name or f"{self.driver}://...?{self.query}"

    def environment(self, stack: Stack) -> dict[str, str]:
        """Return the environment variables of the DSN, with the DSN in this form."""
        how = stack.sut.worker
        dsn = stack.inner_dsn(how.role, form=self.driver)
        return dict.fromkeys(how.dsn, f"{dsn}?{self.query}")


def accepted_forms(sut: Sut) -> list[Form]:
    """Return the forms that the system accepts, the described one first; none without a DSN."""
    drivers = list(dict.fromkeys((*sut.worker.dsn.values(), *sut.worker.dsn_forms)))
    names = [DESCRIBED] * bool(drivers) + [""] * len(drivers)
    return [
        Form(driver=driver, query=PARAMETERS[driver], name=name)
        for driver, name in zip(drivers, names, strict=False)
    ]


def forms_with_tls(sut: Sut) -> list[Form]:
    """Return forms that demand TLS: the described one, and that of asyncpg if it is accepted."""
    drivers = list(dict.fromkeys((*sut.worker.dsn.values(), *sut.worker.dsn_forms)))
    chosen = dict.fromkeys((*drivers[:1], *(one for one in drivers if one == ASYNCPG)))
    return [
        Form(
            driver=driver,
            query="ssl=require" if driver == ASYNCPG else "sslmode=require",
            name=TLS if driver == drivers[0] else "",
        )
        for driver in chosen
    ]


def publish_each(stack: Stack, forms: Sequence[Form]) -> tuple[list[str], list[str]]:
    """Publish a ping with each form of the DSN.

    Returns:
        The id of each ping, and why it was not published: one of both is empty.

    """
    ping = stack.sut.ping
    for form in forms:  # all start at the same time
        stack.publisher(form.environment(stack))
    task_ids, refusals = [], []
    for form in forms:
        task_id = refusal = ""
        try:
            publisher = stack.publisher(form.environment(stack))
            task_id = publisher.publish(ping.task, (), ping.arguments)
        except (AssertionError, NotReadyError) as error:
            if _is_silent(error):
                raise
            refusal = _cause(error)
        task_ids.append(task_id)
        refusals.append(refusal)
    return task_ids, refusals


def state_with(stack: Stack, form: Form, task_id: str) -> str:
    """Return the state of a ping, read with a form of the DSN, or why it cannot be read."""
    try:
        publisher = stack.publisher(form.environment(stack))
        return publisher.result(task_id, deadline_s=RESULT_DEADLINE_S).end
    except (AssertionError, NotReadyError) as error:
        if _is_silent(error):
            raise
        return _cause(error)


def _is_silent(error: BaseException) -> bool:
    """Return whether a program gave no answer in time and no reason: no refusal by the system."""
    return isinstance(error, NotReadyError) and str(error).endswith(SILENT)


def _cause(error: BaseException) -> str:
    """Return the exception of the system on one line, without the words of the probe."""
    text = " ".join(str(error).split())
    return text.partition(": ")[2] or text
