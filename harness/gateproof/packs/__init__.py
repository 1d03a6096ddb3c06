"""Sets of gates that the wheel contains, one for each kind of system."""
