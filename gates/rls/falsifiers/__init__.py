"""What falsifiers of this gate bring: each folder goes first on a process's module path."""
