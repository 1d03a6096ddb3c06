"""Views of a run, such as a page or a terminal table. They show the verdicts and judge nothing."""
