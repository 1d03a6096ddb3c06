"""Tenants of any system: their tables, their rows, and the faults that open one to another."""
