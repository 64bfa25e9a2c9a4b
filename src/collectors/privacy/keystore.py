"""Keysets as JSON files in a folder that only this account may enter."""

from __future__ import annotations

import base64
import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, ValidationError

from collectors.clock import SYSTEM_CLOCK, Clock
from collectors.errors import BadInput, ConfigError, LifecycleError, StorageUnavailable, UnknownName
from collectors.privacy.keys import Key, Keyset, KeyStatus, Purpose

KEY_BYTES = 32
_NONCE_BYTES = 12
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


class _Stored(BaseModel):
    # A message about a malformed file must not quote the key material in it.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class _StoredKey(_Stored):
    """A key in a file; ``material`` is 32 bytes, or nonce, ciphertext and tag if wrapped, or empty if destroyed."""

    id: int
    purpose: Purpose
    status: KeyStatus
    created_us: int
    material: Base64Bytes = Field(repr=False)


class _File(_Stored):
    """The content of a tenant's file."""

    version: Literal[1] = 1
    tenant: str
    wrapped: bool
    shredded_us: int | None = None
    keys: tuple[_StoredKey, ...]


def parse_master_key(text: str, *, where: str = "master key") -> bytes:
    """Return the 32 bytes that ``text`` writes as 64 hexadecimal digits or as base64."""
    stripped = text.strip()
    try:
        key = bytes.fromhex(stripped) if len(stripped) == 2 * KEY_BYTES else base64.b64decode(stripped, validate=True)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        message = f"it is not {KEY_BYTES} bytes in hexadecimal or base64."
        raise ConfigError(message, where=where, fix=f"make one with: openssl rand -base64 {KEY_BYTES}")
    return key


class FileKeyStore:
    """A ``KeyStore`` of one file per tenant, shared by all processes of a machine.

    A change replaces the file atomically, under a lock on the folder, and then overwrites the old content, so
    that a destroyed key is not left in free blocks (a copying file system or a backup may still hold it).
    With a ``master_key`` of 32 bytes, key material is wrapped by AES-256-GCM before it is written; a file from
    before there was one is read as it is, and wrapped when next written.
    """

    def __init__(self, folder: Path, *, master_key: bytes | None = None, clock: Clock = SYSTEM_CLOCK) -> None:
        self._folder = folder
        self._clock = clock
        self._master = None if master_key is None else AESGCM(master_key)
        self._cache: dict[str, tuple[tuple[int, int, int], Keyset | None]] = {}

    def keyset(self, tenant: str) -> Keyset:
        path = self._path(tenant)
        with _translated(tenant):
            cached = self._cache.get(tenant)
            if cached is None or cached[0] != _signature(path):
                with self._lock(fcntl.LOCK_SH):
                    cached = _signature(path), self._unwrapped(self._load(tenant, path))
                self._cache[tenant] = cached
        return _in_use(cached[1], tenant)

    def create(self, tenant: str) -> Keyset:
        path = self._path(tenant)
        with _translated(tenant):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._lock(fcntl.LOCK_EX):
                try:
                    return _in_use(self._unwrapped(self._load(tenant, path)), tenant)
                except FileNotFoundError:
                    keys = self._with_new(self._with_new((), Purpose.PSEUDONYM), Purpose.AEAD)
                    return self._save(Keyset(tenant, keys), path)

    def rotate(self, tenant: str, purpose: Purpose = Purpose.AEAD) -> Keyset:
        path = self._path(tenant)
        with _translated(tenant), self._lock(fcntl.LOCK_EX):
            old = _in_use(self._unwrapped(self._load(tenant, path)), tenant)
            return self._save(Keyset(tenant, self._with_new(old.keys, purpose)), path)

    def shred(self, tenant: str) -> None:
        path = self._path(tenant)
        with _translated(tenant), self._lock(fcntl.LOCK_EX):
            try:
                stored = self._load(tenant, path)
            except ConfigError:  # What cannot even be read must still be destroyed.
                stored = _File(tenant=tenant, wrapped=False, keys=())
            if stored.shredded_us is None:
                gone = {"status": KeyStatus.DESTROYED, "material": b""}
                ids = tuple(key.model_copy(update=gone) for key in stored.keys)
                self._replace(path, stored.model_copy(update={"shredded_us": self._clock.now_us(), "keys": ids}))
        self._cache.pop(tenant, None)

    def _path(self, tenant: str) -> Path:
        if not _TENANT.fullmatch(tenant):
            raise BadInput("a tenant id has 1 to 128 letters, digits, '_', '-' and '.', the first a letter or digit")
        return self._folder / f"{tenant}.json"

    @contextmanager
    def _lock(self, mode: int) -> Iterator[None]:
        """Hold the folder's lock, against threads and processes; readers share it."""
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(folder, mode)
            yield
        finally:
            os.close(folder)

    def _with_new(self, keys: tuple[Key, ...], purpose: Purpose) -> tuple[Key, ...]:
        used = {0, *(key.id for key in keys)}
        key_id = next(i for i in iter(lambda: secrets.randbits(32), None) if i not in used)
        material = secrets.token_bytes(KEY_BYTES)
        return (*keys, Key(key_id, purpose, KeyStatus.ENABLED, self._clock.now_us(), material))

    def _load(self, tenant: str, path: Path) -> _File:
        """Read the file; the caller holds the lock, so that it is not overwritten meanwhile."""
        try:
            stored = _File.model_validate_json(path.read_bytes())
        except ValidationError as error:
            fix = "restore the file from a backup"
            raise ConfigError(f"not a keyset ({error.error_count()} errors).", where=str(path), fix=fix) from None
        if stored.tenant != tenant:
            raise ConfigError(
                "this is the keyset of another tenant.", where=str(path), fix="restore the file from a backup"
            )
        return stored

    def _unwrapped(self, stored: _File) -> Keyset | None:
        """Return the keys in the file, or None if they were shredded."""
        if stored.shredded_us is not None:
            return None
        keys = (Key(k.id, k.purpose, k.status, k.created_us, k.material) for k in stored.keys)
        if stored.wrapped:
            keys = (replace(key, material=self._unwrap(stored.tenant, key)) for key in keys)
        return Keyset(stored.tenant, tuple(keys))

    def _unwrap(self, tenant: str, key: Key) -> bytes:
        fix = "set the master key that it was written with"
        if self._master is None:
            raise ConfigError("the keys are wrapped and there is no master key.", where=f"keys of {tenant}", fix=fix)
        nonce, wrapped = key.material[:_NONCE_BYTES], key.material[_NONCE_BYTES:]
        try:
            return self._master.decrypt(nonce, wrapped, _wrapping_context(tenant, key))
        except InvalidTag:
            raise ConfigError("the master key does not open the keys.", where=f"keys of {tenant}", fix=fix) from None

    def _wrap(self, tenant: str, key: Key) -> bytes:
        if self._master is None:
            return key.material
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._master.encrypt(nonce, key.material, _wrapping_context(tenant, key))

    def _save(self, keyset: Keyset, path: Path) -> Keyset:
        entries = tuple(
            _StoredKey(
                id=key.id,
                purpose=key.purpose,
                status=key.status,
                created_us=key.created_us,
                material=base64.b64encode(self._wrap(keyset.tenant, key)),
            )
            for key in keyset.keys
        )
        self._replace(path, _File(tenant=keyset.tenant, wrapped=self._master is not None, keys=entries))
        return keyset

    def _replace(self, path: Path, stored: _File) -> None:
        # One name per tenant, so that what a crash leaves behind is overwritten by the next change.
        fresh = path.with_name(f"{path.name}.new")
        with ExitStack() as stack:
            file = stack.enter_context(os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb"))
            file.write(stored.model_dump_json(indent=1).encode())
            _to_disk(file)
            old = stack.enter_context(path.open("r+b")) if path.exists() else None
            fresh.replace(path)
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
            stack.callback(os.close, folder)
            os.fsync(folder)
            if old is not None:
                old.write(bytes(os.fstat(old.fileno()).st_size))
                _to_disk(old)


def _to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _signature(path: Path) -> tuple[int, int, int]:
    """Return what is different once the file was replaced."""
    status = path.stat()
    return status.st_ino, status.st_mtime_ns, status.st_size


def _wrapping_context(tenant: str, key: Key) -> bytes:
    """Bind wrapped material to its place, so that keys cannot be swapped between tenants or purposes."""
    return f"{tenant}|{key.purpose}|{key.id}".encode()


def _in_use(keyset: Keyset | None, tenant: str) -> Keyset:
    if keyset is None:
        raise LifecycleError(f"the keys of tenant {tenant!r} were shredded: its personal data is gone for good")
    return keyset


@contextmanager
def _translated(tenant: str) -> Iterator[None]:
    """Turn errors of the operating system into ours."""
    try:
        yield
    except FileNotFoundError:
        raise UnknownName(f"tenant {tenant!r} has no keys; create() makes them") from None
    except OSError as error:
        raise StorageUnavailable(f"the keys of tenant {tenant!r} cannot be reached: {error.strerror}") from error
