"""A worker of a drafted description, watched for a moment: lines, metrics, failed tasks, lease."""
