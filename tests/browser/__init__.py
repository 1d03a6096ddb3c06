"""The report as people read it: in a real browser, without a screen."""
