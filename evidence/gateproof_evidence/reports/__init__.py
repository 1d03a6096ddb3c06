"""Surfaces that show a run: a page, a terminal. They show what was judged and judge nothing."""
