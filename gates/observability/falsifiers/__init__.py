"""What the falsifiers of this gate change in the system; loaded by `gates.patched`."""
