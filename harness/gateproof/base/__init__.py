"""What all other packages share: errors, waiting, the description of the system."""
