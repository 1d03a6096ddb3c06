"""Everything by which a worker is watched: log lines, metrics, health and their HTTP server."""
