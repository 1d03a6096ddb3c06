"""Faults that change the files of a copy: code, migrations, and files that are not code."""
