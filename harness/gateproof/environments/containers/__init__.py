"""The environment `containers`: PostgreSQL and the system's image on an engine."""
