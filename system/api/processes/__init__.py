"""The processes of the service: `parent` keeps them running, `child` serves in one.

`protocol` bounds how long a client may take to send a request.
"""
