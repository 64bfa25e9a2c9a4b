"""Who is asking, and may they: API keys from request headers, checked against the control database and remembered.

What was found out about a key holds until the control database changes; whether it did is looked up at most once a
second, so a revoked key is refused within about a second, in every process. Keys are remembered by a digest only.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
import sqlite3
import threading
from collections.abc import Iterable
from hashlib import sha256
from typing import Any, TypeVar

from collectors.clock import Clock
from collectors.config.tenant import TENANT_ID
from collectors.drivers.control_store import ApiKey, ControlStore, Scope
from collectors.errors import Forbidden, Overloaded, StorageUnavailable, Unauthenticated, UnknownName

Headers = Iterable[tuple[bytes, bytes]]
T = TypeVar("T")

_KEY_TEXT = re.compile(r"ck_[0-9a-f]{1,64}_[A-Za-z0-9_-]{1,256}")
_MAX_HEADER_BYTES = 1024
_TENANT = re.compile(TENANT_ID)


class Authenticator:
    """Find the key behind a request. Thread-safe; a remembered key costs a hash and a dictionary look-up.

    ``authenticate`` and ``require`` read the database when they meet something new (0.1 to 0.3 ms); ``identify`` and
    ``permit`` do the same without ever blocking an event loop. Guesses are held back: of keys that were never good, at
    most ``guesses_per_second`` are looked up, so a flood of them neither loads the database nor crowds out known keys.
    """

    def __init__(
        self,
        control: ControlStore,
        clock: Clock,
        *,
        check_seconds: float = 1.0,
        max_keys: int = 20_000,
        guesses_per_second: float = 500.0,
    ) -> None:
        self._control = control
        self._clock = clock
        self._check_seconds = check_seconds
        self._max_keys = max_keys
        self._guesses = _Allowance(clock, guesses_per_second)
        self._lock = threading.Lock()
        self._version = -1
        self._check_at = float("-inf")
        self._good: dict[bytes, ApiKey] = {}
        self._bad: dict[bytes, None] = {}
        self._once_good: dict[bytes, None] = {}
        self._tenants: dict[str, None] = {}

    def authenticate(self, headers: Headers) -> ApiKey:
        """Return the key a request carries: ``Bearer KEY``, or ``Basic`` with the key as user name or password.

        Header names are lower case, as ASGI has them. Raises Unauthenticated, Overloaded while too many unknown keys
        are being tried, and StorageUnavailable if the control database can't be read.
        """
        value = _authorization(headers)
        digest = sha256(value).digest()
        if self._clock.monotonic() < self._check_at:
            key = self._good.get(digest)
            if key is not None:
                return key
        return self._look_up(digest, value)

    def require(self, key: ApiKey, scope: Scope, tenant: str | None) -> None:
        """Raise unless ``key`` allows ``scope`` on ``tenant``; None stands for the whole server.

        Forbidden if the key may see the tenant but not do that; UnknownName for a tenant that it may not see, in the
        same words as for one that does not exist, so that nobody can find out who else is here.
        """
        if tenant is not None:
            visible = key.tenant == tenant or (key.tenant is None and self._exists(tenant))
            if not visible:
                raise UnknownName("there is no such tenant, or this key may not see it")
        if not key.allows(scope, tenant):
            where = "this tenant" if tenant is not None else "the whole server"
            raise Forbidden(f"this key does not allow that; use one with the scope {scope.value!r} on {where}")

    async def identify(self, headers: Headers) -> ApiKey:
        """Do what ``authenticate`` does, without blocking the event loop."""
        value = _authorization(headers)
        digest = sha256(value).digest()
        if self._clock.monotonic() < self._check_at:
            key = self._good.get(digest)
            if key is not None:
                return key
            if digest in self._bad:
                raise _refused()
        return await asyncio.to_thread(self._look_up, digest, value)

    async def permit(self, key: ApiKey, scope: Scope, tenant: str | None) -> None:
        """Do what ``require`` does, without blocking the event loop."""
        if tenant is None or key.tenant is not None or tenant in self._tenants:
            self.require(key, scope, tenant)
        else:
            await asyncio.to_thread(self.require, key, scope, tenant)

    def _look_up(self, digest: bytes, value: bytes) -> ApiKey:
        with self._lock:
            try:
                self._follow_changes()
                return self._check(digest, value)
            except sqlite3.Error as error:
                # Without the database nobody knows whether a key was revoked.
                raise StorageUnavailable(f"the keys can't be read: {error}; the caller may retry") from error

    def _follow_changes(self) -> None:
        """Forget what may have changed since the database was last looked at."""
        now = self._clock.monotonic()
        if now < self._check_at:
            return
        version = self._control.version()
        if version != self._version:
            for digest in self._good:
                _remember(self._once_good, digest, self._max_keys)
            # New dictionaries, because others read the old ones without the lock.
            self._good, self._bad, self._tenants = {}, {}, {}
            self._version = version
        self._check_at = now + self._check_seconds

    def _check(self, digest: bytes, value: bytes) -> ApiKey:
        known = self._good.get(digest)
        if known is not None:
            return known
        if digest in self._bad:
            raise _refused()
        text = _key_text(value)
        if digest not in self._once_good and not self._guesses.take():
            raise Overloaded("too many unknown keys are being tried; try again in a second", retry_after=1.0)
        key = self._control.authenticate(text)
        if key is None:
            self._once_good.pop(digest, None)
            _remember(self._bad, digest, self._max_keys)
            raise _refused()
        _bound(self._good, self._max_keys)
        self._good[digest] = key
        return key

    def _exists(self, tenant: str) -> bool:
        if tenant in self._tenants:
            return True
        if not _TENANT.fullmatch(tenant):
            return False
        tenants = self._tenants
        try:
            self._control.tenant(tenant)
        except UnknownName:
            return False
        except sqlite3.Error as error:
            raise StorageUnavailable(f"the tenants can't be read: {error}; the caller may retry") from error
        _remember(tenants, tenant, self._max_keys)
        return True


class _Allowance:
    """A token bucket that holds one second's worth."""

    def __init__(self, clock: Clock, per_second: float) -> None:
        self._clock = clock
        self._per_second = per_second
        self._tokens = per_second
        self._filled_at = clock.monotonic()

    def take(self) -> bool:
        now = self._clock.monotonic()
        self._tokens = min(self._per_second, self._tokens + (now - self._filled_at) * self._per_second)
        self._filled_at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


def _remember(memory: dict[T, None], item: T, most: int) -> None:
    _bound(memory, most)
    memory[item] = None


def _bound(memory: dict[T, Any], most: int) -> None:
    """Make room for one more by forgetting the oldest."""
    while len(memory) >= most:
        memory.pop(next(iter(memory)))


def _authorization(headers: Headers) -> bytes:
    for name, value in headers:
        if name == b"authorization":
            if len(value) > _MAX_HEADER_BYTES:
                raise _refused()
            return value
    raise Unauthenticated("send an API key with the request, as in `Authorization: Bearer KEY`")


def _key_text(value: bytes) -> str:
    """Return what may be a key: what has not even a key's form never reaches the database."""
    scheme, _, rest = value.partition(b" ")
    candidates = [rest.strip()]
    if scheme.lower() == b"basic":
        try:
            candidates = list(base64.b64decode(rest.strip(), validate=True).partition(b":")[::2])
        except binascii.Error:
            candidates = []
    elif scheme.lower() != b"bearer":
        candidates = []
    for candidate in candidates:
        text = candidate.decode("latin-1")
        if _KEY_TEXT.fullmatch(text):
            return text
    raise _refused()


def _refused() -> Unauthenticated:
    return Unauthenticated("this is not a key in force; check it, or ask an administrator for a new one")
