"""The first draft of a description: found in the files, the app and the database of a system."""
