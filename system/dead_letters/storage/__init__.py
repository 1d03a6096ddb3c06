"""Store dead letters: in the table, or on local disk until the database takes them."""
