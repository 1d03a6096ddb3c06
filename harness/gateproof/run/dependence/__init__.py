"""What a check or a proof depends on: whether an earlier result still counts."""
