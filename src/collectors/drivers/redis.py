"""A Redis or Valkey server, asked over one connection a node.

The protocol (RESP2, https://redis.io/docs/latest/develop/reference/protocol-spec) is read here rather than by
redis-py, because a monitor needs less and other things than an application: answers as they came instead of interpreted
ones, each refusal beside the answers of the same pipeline, no handshake that asks for rights of its own (``HELLO``,
``CLIENT SETINFO``), no retries and sleeps of the client's own, and nothing to install or import.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from pydantic import SecretStr

from collectors.config.alerting import read_secret
from collectors.errors import ConfigError, SourceRefused, SourceUnavailable

Command: TypeAlias = tuple[str, ...]
Reply: TypeAlias = Any
"""A text, a whole number, None, a list of replies, or a ``Refusal``."""

_MAX_BYTES = 64 * 1024 * 1024
_MAX_DEPTH = 16
_MAX_ITEMS = 1_000_000
_MAX_LINE = 64 * 1024
_CHUNK = 1024 * 1024


class Cause(StrEnum):
    """Why a server did not do what a command says."""

    DENIED = "denied"
    UNKNOWN = "unknown"
    MISSING = "missing"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Refusal:
    """One command's refusal.

    ``code`` is the first word of the server's answer, such as NOPERM; the rest of it may hold the names of users and
    keys, and is dropped. A command that this version does not have is UNKNOWN, a key that is not there MISSING.
    ``node`` is who is to be asked instead, where the slot of a key has MOVED.
    """

    code: str
    cause: Cause
    node: str = ""

    @classmethod
    def of(cls, message: str) -> Refusal:
        """Read the server's answer without its leading minus."""
        code, _, rest = message.partition(" ")
        words = rest.lower()
        if code == "NOPERM":
            return cls(code, Cause.DENIED)
        if words.startswith(("unknown command", "unknown subcommand", "unknown sentinel subcommand", "syntax error")):
            return cls(code, Cause.UNKNOWN)
        if words.startswith("no such key"):
            return cls(code, Cause.MISSING)
        if code == "MOVED":
            return cls(code, Cause.OTHER, rest.rpartition(" ")[2])
        return cls(code[:32], Cause.OTHER)


class RedisSource(Protocol):
    """What a collector knows of the servers it asks."""

    async def ask(self, commands: Sequence[Command], node: str = "") -> list[Reply]:
        """Send all commands at once and return their replies in order.

        ``node`` is ``host:port`` of another server of the same deployment. Raises ``SourceUnavailable`` if it does not
        answer and ``SourceRefused`` if it lets nobody in; a command that is refused is a ``Refusal`` in its place.
        """

    async def close(self) -> None:
        """End all connections."""


@dataclass(frozen=True, slots=True)
class RedisAccess:
    """Where a server is and how it lets us in; ``password`` may say ``env:`` or ``file:`` where it stands."""

    host: str = "127.0.0.1"
    port: int = 6379
    unix_socket: str = ""
    username: str = ""
    password: SecretStr = field(default=SecretStr(""), repr=False)
    database: int = 0
    tls: bool = False
    ca_file: Path | None = None
    certificate_file: Path | None = None
    certificate_key_file: Path | None = None
    timeout_seconds: float = 2.0


class Redis:
    """Connections to a server and, by ``node``, to others that let the same user in.

    A connection is made when it is first needed and dropped after any failure, so that no late reply is taken for the
    answer to another question. Nothing is tried twice. The password is read anew for each connection.
    """

    def __init__(self, access: RedisAccess) -> None:
        self._access = access
        self._connections: dict[str, _Connection] = {}

    async def ask(self, commands: Sequence[Command], node: str = "") -> list[Reply]:
        """Send all commands at once and return their replies in order, within ``timeout_seconds``."""
        where = node or self._access.unix_socket or f"{self._access.host}:{self._access.port}"
        try:
            async with asyncio.timeout(self._access.timeout_seconds):
                connection = self._connections.get(node)
                if connection is None:
                    login = self._login()
                    connection = self._connections[node] = await self._connect(node)
                    _let_in(await connection.ask(login), where)
                replies = await connection.ask(commands)
        except BaseException as error:  # noqa: BLE001  # a cancelled question leaves its replies behind, too
            self._drop(node)
            raise _typed(error, where, self._access.timeout_seconds) from None
        if any(isinstance(reply, Refusal) and reply.code == "NOAUTH" for reply in replies):
            self._drop(node)
            raise SourceRefused(f"{where} wants to know who asks; set username and password")
        return replies

    async def close(self) -> None:
        """End all connections."""
        connections, self._connections = self._connections, {}
        for connection in connections.values():
            connection.writer.close()
        for connection in connections.values():
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(1.0):
                    await connection.writer.wait_closed()

    async def _connect(self, node: str) -> _Connection:
        access = self._access
        if access.unix_socket and not node:
            return _Connection(*await asyncio.open_unix_connection(access.unix_socket, limit=_CHUNK))
        host, port = _address(node) if node else (access.host, access.port)
        context = _tls(access) if access.tls else None
        return _Connection(*await asyncio.open_connection(host, port, ssl=context, limit=_CHUNK))

    def _login(self) -> list[Command]:
        """Return what a new connection begins with; the password is looked up now."""
        access, commands = self._access, list[Command]()
        password = access.password.get_secret_value()
        if password.startswith(("env:", "file:")):
            password = read_secret(password).get_secret_value()
        if password:
            commands.append(("AUTH", access.username, password) if access.username else ("AUTH", password))
        if access.database:
            commands.append(("SELECT", str(access.database)))
        return commands

    def _drop(self, node: str) -> None:
        connection = self._connections.pop(node, None)
        if connection is not None:
            connection.writer.transport.abort()


class _Connection:
    """A connection and the replies that arrive on it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self._replies = ReplyReader(reader)

    async def ask(self, commands: Sequence[Command]) -> list[Reply]:
        self.writer.write(b"".join(map(encode, commands)))
        await self.writer.drain()
        return [await self._replies.next() for _ in commands]


def encode(command: Command) -> bytes:
    """Return a command as the protocol writes it: an array of bulk strings."""
    parts = [part.encode("utf-8", "surrogateescape") for part in command]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


class ReplyReader:
    """Reads RESP2 replies; ValueError for what is none, or is larger than any answer to a monitor's question.

    A reply is parsed in one go from what has arrived, and from its beginning again if that was not all of it: replies
    are small and arrive whole, so that this is far cheaper than to wait for each of their lines. Bytes that are no
    UTF-8, as keys may have, survive as surrogates.
    """

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._data = bytearray()
        self._at = 0

    async def next(self) -> Reply:
        """Return the next reply."""
        while True:
            start = self._at
            try:
                return self._parse(0)
            except _Incomplete:
                del self._data[:start]
                self._at = 0
            more = await self._reader.read(_CHUNK)
            if not more:
                raise asyncio.IncompleteReadError(bytes(self._data), None)
            self._data += more

    def _parse(self, depth: int) -> Reply:
        data, start = self._data, self._at
        end = data.find(b"\r\n", start)
        if end < 0:
            if len(data) - start > _MAX_LINE:
                raise ValueError("a line of this length is no answer")
            raise _Incomplete
        self._at = end + 2
        kind, rest = data[start : start + 1], data[start + 1 : end]
        if kind == b"$":
            return self._string(int(rest))
        if kind == b":":
            return int(rest)
        if kind == b"*":
            count = int(rest)
            if count == -1:
                return None
            if not 0 <= count <= _MAX_ITEMS or depth >= _MAX_DEPTH:
                raise ValueError("an array of this size is no answer")
            return [self._parse(depth + 1) for _ in range(count)]
        text = rest.decode("utf-8", "surrogateescape")
        if kind == b"+":
            return text
        if kind == b"-":
            return Refusal.of(text)
        raise ValueError("this is not the protocol of Redis")

    def _string(self, size: int) -> str | None:
        if size == -1:
            return None
        if not 0 <= size <= _MAX_BYTES:
            raise ValueError("a string of this length is no answer")
        start, self._at = self._at, self._at + size + 2
        if self._at > len(self._data):
            raise _Incomplete
        return self._data[start : start + size].decode("utf-8", "surrogateescape")


class _Incomplete(Exception):
    """Not all of a reply has arrived."""


def _address(node: str) -> tuple[str, int]:
    host, _, port = node.rpartition(":")
    return host.strip("[]"), int(port)


def _let_in(replies: Sequence[Reply], where: str) -> None:
    """Raise SourceRefused unless all that a connection begins with was accepted."""
    for reply in replies:
        if isinstance(reply, Refusal):
            raise SourceRefused(
                f"{where} does not accept this user, password or database ({reply.code}); check all three"
            )


def _tls(access: RedisAccess) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=access.ca_file)
        if access.certificate_file is not None:
            context.load_cert_chain(access.certificate_file, access.certificate_key_file)
    except (OSError, ValueError):
        raise ConfigError(
            "the certificates to reach Redis with can't be read",
            fix="check ca_file, certificate_file and certificate_key_file: PEM, and readable.",
        ) from None
    return context


def _typed(error: BaseException, where: str, timeout_s: float) -> BaseException:
    """Return what ``error`` is called here; it quotes nothing that was sent or answered."""
    if isinstance(error, TimeoutError):
        return SourceUnavailable(f"{where} did not answer within {timeout_s:g} s; look whether it hangs")
    if isinstance(error, ssl.SSLCertVerificationError):
        return SourceRefused(f"the certificate of {where} is not trusted; set ca_file, or mend the certificate")
    if isinstance(error, asyncio.IncompleteReadError | ConnectionError):
        return SourceUnavailable(f"{where} refused or closed the connection; look whether it runs")
    if isinstance(error, OSError):
        return SourceUnavailable(f"{where} can't be reached; look whether it runs, and at the network between")
    if isinstance(error, ValueError):
        return SourceUnavailable(f"{where} does not speak the protocol of Redis; check host, port and tls")
    return error
