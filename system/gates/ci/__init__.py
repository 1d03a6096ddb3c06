"""Gate ci: the workflow, and the evidence of a failed run."""
