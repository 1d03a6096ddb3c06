"""Benchmarks: the cost of the product compared with other tools. ``make bench`` runs them."""
