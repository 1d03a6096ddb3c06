"""Sets of gates that are shipped, one for each kind of system."""
