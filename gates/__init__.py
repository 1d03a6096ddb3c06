"""The gates: criteria, the checks that judge them, and the faults that prove the checks."""
