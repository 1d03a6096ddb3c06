"""Faults at the boundary of a system: they know nothing of its source, and fit any system.

`inject` changes Celery inside of the system's processes, `message` what is queued, `http` what an
endpoint answers, and `log` what a worker's log has.
"""
