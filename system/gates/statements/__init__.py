"""A table of the transport's statements: the rows before, and exactly those after."""
