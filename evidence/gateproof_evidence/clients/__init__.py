"""External programs and services that the package calls, one a module."""
