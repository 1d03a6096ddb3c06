"""The environment `containers`: PostgreSQL and the system's image on a container engine."""
