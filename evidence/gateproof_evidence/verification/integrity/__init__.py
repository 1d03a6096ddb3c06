"""The integrity of a bundle: its signature, and that it has exactly the attested files."""
