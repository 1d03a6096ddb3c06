"""The dependence of a check or a proof: whether an earlier result still counts."""
