"""Benchmarks: what the product costs, beside what it is held against. ``make bench`` runs them."""
