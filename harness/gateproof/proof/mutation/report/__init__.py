"""The result of a mutation run: figures, survivors, the page."""
