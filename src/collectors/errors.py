"""The one exception tree; each leaf tells the caller what to do about it.

    CollectorsError
    ├── ConfigError            fix your configuration: what a person wrote is wrong
    ├── RetryableError         the same call may succeed later
    │   ├── SourceUnavailable  a monitored system did not answer
    │   ├── Overloaded         we are full; ``retry_after`` says when to come back
    │   └── StorageUnavailable the disk or database refuses writes for now
    └── PermanentError         the same call will fail again
        ├── SourceRefused      a monitored system answered and said no
        ├── BadInput           the request is malformed
        │   ├── MalformedBody  the body cannot be decoded at ``position``
        │   └── TooLarge       the body, row count or depth is over a limit
        ├── Unauthenticated    no valid key
        ├── Forbidden          the key is valid but not for this
        ├── UnknownName        no tenant, event type, collector … of that name
        └── LifecycleError     a method was called out of order

Messages are written for the person who reads them: they say what to do, and never hold a secret or a
personal value. ``code`` is stable and safe to branch on.
"""

from __future__ import annotations

from typing import ClassVar


class CollectorsError(Exception):
    """Root of every error this package raises on purpose."""

    code: ClassVar[str] = "error"
    http_status: ClassVar[int] = 500


class ConfigError(CollectorsError):
    """What a person configured is wrong; ``where`` names file, line and key, ``fix`` the remedy."""

    code = "config"
    http_status = 400

    def __init__(self, message: str, *, where: str = "", fix: str = "") -> None:
        self.where = where
        self.fix = fix
        told = f"{where}: {message}" if where else message
        super().__init__(f"{told.rstrip('.')}. Fix: {fix}" if fix else told)


class RetryableError(CollectorsError):
    """The same call may succeed later."""

    code = "retryable"
    http_status = 503


class SourceUnavailable(RetryableError):
    """A monitored system did not answer (connection refused, timeout, half-closed)."""

    code = "source_unavailable"


class Overloaded(RetryableError):
    """A queue, quota or rate limit is exhausted; come back after ``retry_after`` seconds."""

    code = "overloaded"
    http_status = 429

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class StorageUnavailable(RetryableError):
    """The disk or database refuses writes for now; nothing was acknowledged."""

    code = "storage_unavailable"

    def __init__(self, message: str, *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class PermanentError(CollectorsError):
    """The same call will fail again."""

    code = "permanent"
    http_status = 400


class SourceRefused(PermanentError):
    """A monitored system answered and refused (wrong password, missing right, unknown command)."""

    code = "source_refused"


class BadInput(PermanentError):
    """The request is malformed."""

    code = "bad_input"


class MalformedBody(BadInput):
    """The body cannot be decoded; ``position`` is the byte offset or line where it breaks, if known."""

    code = "malformed_body"

    def __init__(self, message: str, *, position: str = "") -> None:
        super().__init__(f"{message} (at {position})" if position else message)
        self.position = position


class TooLarge(BadInput):
    """The body, its row count or its nesting is over a limit."""

    code = "too_large"
    http_status = 413


class Unauthenticated(PermanentError):
    """No key was sent, or it is not one of ours."""

    code = "unauthenticated"
    http_status = 401


class Forbidden(PermanentError):
    """The key is valid but does not allow this call."""

    code = "forbidden"
    http_status = 403


class UnknownName(PermanentError):
    """There is no tenant, event type, collector or metric of that name."""

    code = "unknown_name"
    http_status = 404


class LifecycleError(PermanentError):
    """A method was called out of order, such as ``collect`` before ``open``."""

    code = "lifecycle"
    http_status = 409
