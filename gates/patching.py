"""Faults that change a process of the system while it starts.

For what is wrong in code and not in a setting or the database. Such a fault is one of settings: it
lands in the environment of every process that starts from then on.
"""

from __future__ import annotations

from harness import settings
from harness.faults.settings import SettingsFault


def patch(name: str, file: str, **variables: str) -> SettingsFault:
    """Break a claim by changing modules of the system after their import.

    Args:
        name: a plain slug.
        file: under the gates folder; its `CHANGES` map names of modules to functions that get the
            imported module.
        variables: further environment variables.

    """
    own = {"PYTHONPATH": "{gates}/patched", "FALSIFIER": "{gates}/" + file}
    return settings(name, {**own, **variables})
