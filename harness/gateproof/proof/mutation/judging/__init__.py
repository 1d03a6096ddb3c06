"""Running the checks with mutants, in processes of pytest."""
