"""Takes secrets out of what is recorded: by name, by form, and by known value."""
