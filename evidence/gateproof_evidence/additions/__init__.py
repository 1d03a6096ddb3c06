"""What is added to a sealed bundle: sign-offs and timestamps."""
