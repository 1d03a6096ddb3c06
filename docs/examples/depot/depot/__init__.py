"""The stock of several depots: jobs book what comes and goes, and nothing else runs.

A second example for gateproof, of another shape than the helpdesk: no web framework, plain psycopg,
numbers as tenants, a pool of threads, and a table of lost work.
"""
