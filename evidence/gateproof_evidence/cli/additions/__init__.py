"""The commands that add files to a sealed bundle: sign-off, timestamp and attach."""
