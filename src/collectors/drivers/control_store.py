"""Tenants and API keys, in one small SQLite database that gateway, worker and command line share."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from collectors.clock import Clock
from collectors.config.tenant import TENANT_ID, TenantConfig
from collectors.errors import BadInput, StorageUnavailable, UnknownName

_SCHEMA = """
CREATE TABLE IF NOT EXISTS tenant (
  id TEXT PRIMARY KEY, created_us INTEGER NOT NULL, config TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS api_key (
  id TEXT PRIMARY KEY, tenant TEXT, scopes TEXT NOT NULL, hash BLOB NOT NULL,
  label TEXT NOT NULL, created_us INTEGER NOT NULL, revoked_us INTEGER
) WITHOUT ROWID;
"""
_PREFIX = "ck"


class Scope(StrEnum):
    """What a key allows. ADMIN includes the others; a key without a tenant holds for all of them."""

    WRITE = "write"
    READ = "read"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant as the server knows it."""

    id: str
    created_us: int
    config: TenantConfig


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without its secret, which is stored only as a hash."""

    id: str
    tenant: str | None
    scopes: frozenset[Scope]
    label: str
    created_us: int
    revoked_us: int | None

    def allows(self, scope: Scope, tenant: str | None) -> bool:
        """Tell whether the key is good for ``scope`` on ``tenant``; None stands for the whole server."""
        if self.revoked_us is not None or (self.tenant is not None and self.tenant != tenant):
            return False
        return scope in self.scopes or Scope.ADMIN in self.scopes


class ControlStore:
    """The control database of a data folder; safe for several processes."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Kept open: closing the last connection of a process would write the WAL back each time.
        self._anchor = sqlite3.connect(path, isolation_level=None, timeout=10.0, check_same_thread=False)
        self._anchor.execute("PRAGMA journal_mode=WAL")
        self._anchor.executescript(_SCHEMA)
        path.chmod(0o600)

    def version(self) -> int:
        """Return a number that changes whenever tenants or keys do."""
        with self._connect() as connection:
            (count,) = connection.execute("PRAGMA user_version").fetchone()
        return int(count)

    def put_tenant(self, tenant: str, config: TenantConfig) -> Tenant:
        """Create ``tenant``, or give an existing one a new configuration."""
        if not re.fullmatch(TENANT_ID, tenant):
            raise BadInput("a tenant id is up to 63 lower-case letters, digits, - and _, and starts with no - or _")
        with self._connect() as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(
                "INSERT INTO tenant VALUES (?,?,?) ON CONFLICT (id) DO UPDATE SET config = excluded.config",
                (tenant, self._clock.now_us(), config.model_dump_json(exclude_unset=True)),
            )
            _touch(connection)
        return self.tenant(tenant)

    def tenant(self, tenant: str) -> Tenant:
        """Return the tenant, or raise UnknownName."""
        for found in self._tenants("WHERE id = ?", (tenant,)):
            return found
        raise UnknownName("there is no such tenant; create it with `collectors tenants create TENANT`")

    def tenants(self) -> list[Tenant]:
        """Return all tenants by id."""
        return self._tenants("ORDER BY id", ())

    def create_key(self, tenant: str | None, scopes: Iterable[Scope], *, label: str = "") -> str:
        """Return a new key; its secret is not stored and can't be had again."""
        if tenant is not None:
            self.tenant(tenant)
        key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        with self._connect() as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(
                "INSERT INTO api_key VALUES (?,?,?,?,?,?,NULL)",
                (key_id, tenant, json.dumps(sorted(set(scopes))), _hash(secret), label, self._clock.now_us()),
            )
            _touch(connection)
        return f"{_PREFIX}_{key_id}_{secret}"

    def keys(self, tenant: str | None = None) -> list[ApiKey]:
        """Return the keys of one tenant, or all."""
        with self._connect() as connection:
            rows = connection.execute(
                "SELECT id, tenant, scopes, label, created_us, revoked_us FROM api_key"
                " WHERE ? IS NULL OR tenant = ? ORDER BY created_us, id",
                (tenant, tenant),
            ).fetchall()
        return [_key(row) for row in rows]

    def revoke_key(self, key_id: str) -> None:
        """Make a key worthless, or raise UnknownName."""
        with self._connect() as connection:
            connection.execute("BEGIN IMMEDIATE")
            cursor = connection.execute(
                "UPDATE api_key SET revoked_us = ? WHERE id = ? AND revoked_us IS NULL",
                (self._clock.now_us(), key_id),
            )
            if cursor.rowcount == 0:
                connection.execute("ROLLBACK")
                raise UnknownName("there is no such key in force")
            _touch(connection)

    def authenticate(self, text: str) -> ApiKey | None:
        """Return the key that ``text`` is, or None if it is none in force."""
        prefix, _, rest = text.partition("_")
        key_id, _, secret = rest.partition("_")
        if prefix != _PREFIX or not secret:
            return None
        with self._connect() as connection:
            row = connection.execute(
                "SELECT id, tenant, scopes, label, created_us, revoked_us, hash FROM api_key WHERE id = ?", (key_id,)
            ).fetchone()
        if row is None or not hmac.compare_digest(row[-1], _hash(secret)):
            return None
        key = _key(row[:-1])
        return key if key.revoked_us is None else None

    def _tenants(self, clause: str, parameters: tuple[str, ...]) -> list[Tenant]:
        with self._connect() as connection:
            rows = connection.execute(f"SELECT id, created_us, config FROM tenant {clause}", parameters)  # noqa: S608
            return [Tenant(id_, created, TenantConfig.model_validate_json(text)) for id_, created, text in rows]

    @contextmanager
    def _connect(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self._path, isolation_level=None, timeout=10.0)) as connection:
                yield connection
        except sqlite3.Error as error:
            raise StorageUnavailable(f"tenants and keys can't be read: {error}; free or repair the disk") from error


def _touch(connection: sqlite3.Connection) -> None:
    """Commit, and let other processes see by the version that something changed."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.execute(f"PRAGMA user_version = {int(version) + 1}")
    connection.execute("COMMIT")


def _hash(secret: str) -> bytes:
    # The secret is 256 random bits: a plain hash can't be searched, and a slow one would only slow requests.
    return hashlib.sha256(secret.encode()).digest()


def _key(row: tuple[str, str | None, str, str, int, int | None]) -> ApiKey:
    id_, tenant, scopes, label, created, revoked = row
    return ApiKey(id_, tenant, frozenset(Scope(s) for s in json.loads(scopes)), label, created, revoked)
