"""The gates that judge the reference system alone: their checks know its modules and settings."""
