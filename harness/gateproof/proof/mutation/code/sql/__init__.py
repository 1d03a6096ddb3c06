"""SQL in string literals: which strings are SQL, their tokens, and the changes of their clauses."""
