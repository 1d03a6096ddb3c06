"""The rules that one document meets by itself: validity, lint, house rules and examples."""
