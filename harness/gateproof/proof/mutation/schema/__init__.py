"""The mutants of a database's schema, made from its catalogue."""
