"""The exception that code gets for what is denied. `scopes` and `detections` raise it; it decides nothing."""


class Denied(PermissionError):
    """What code gets for what a scope or `[code]` denies. An OSError, as if the system had refused."""


Denied.__module__ = "ringfence"
