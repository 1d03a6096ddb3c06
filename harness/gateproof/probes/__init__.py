"""How checks learn about the world: each call leaves one observation in the journal."""
