"""Tests of the report in a real, headless browser."""
