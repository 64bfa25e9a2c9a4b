"""The reader of Redis' protocol, against texts written by its specification and servers that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from collectors.drivers.redis import Cause, Redis, RedisAccess, Refusal, ReplyReader, encode
from collectors.errors import ConfigError, SourceRefused, SourceUnavailable
from collectors.testing import settle

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
SECRET = "s3cret-never-shown"


def written(value: Any) -> bytes:
    """Write a reply as https://redis.io/docs/latest/develop/reference/protocol-spec says."""
    if value is None:
        return b"$-1\r\n"
    if isinstance(value, int):
        return b":" + str(value).encode() + b"\r\n"
    if isinstance(value, str):
        raw = value.encode("utf-8", "surrogateescape")
        return b"$" + str(len(raw)).encode() + b"\r\n" + raw + b"\r\n"
    return b"*" + str(len(value)).encode() + b"\r\n" + b"".join(map(written, value))


def read(data: bytes, *, piece: int = 1 << 20) -> Any:
    async def run() -> Any:
        reader = asyncio.StreamReader()
        reply = asyncio.ensure_future(ReplyReader(reader).next())
        for at in range(0, len(data), piece):
            reader.feed_data(data[at : at + piece])
            await settle(1)
        reader.feed_eof()
        return await reply

    return asyncio.run(run())


texts = st.binary(max_size=200).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
replies = st.recursive(
    st.none() | st.integers(-(2**63), 2**63 - 1) | texts, lambda inner: st.lists(inner, max_size=5), max_leaves=20
)


@given(replies, st.integers(1, 50))
def test_any_reply_is_read_as_it_was_written_however_it_arrives(reply, piece):
    assert read(written(reply), piece=piece) == reply


@given(st.lists(texts, min_size=1, max_size=6))
def test_commands_are_written_as_redis_py_writes_them(words):
    from redis.connection import Connection

    raw = [word.encode("utf-8", "surrogateescape") for word in words]
    assert encode(tuple(words)) == b"".join(Connection().pack_command(*raw)) or " " in words[0]
    assert read(encode(tuple(words))) == words


@given(st.binary(max_size=60))
def test_rubbish_is_a_reply_or_a_value_error_or_an_early_end(data):
    with contextlib.suppress(ValueError, asyncio.IncompleteReadError):
        read(data)


@pytest.mark.parametrize(
    "data", [b"$99999999999\r\n", b"*99999999\r\n", b"$-2\r\n", b"HTTP/1.1 400\r\n", b"*1\r\n" * 40 + b":1\r\n"]
)
def test_what_no_monitor_asked_for_is_refused_before_it_takes_memory(data):
    with pytest.raises(ValueError, match=r"answer|protocol"):
        read(data)


def test_simple_strings_and_null_arrays_are_read():
    assert read(b"+OK\r\n") == "OK"
    assert read(b"*-1\r\n") is None


@pytest.mark.parametrize(
    ("message", "code", "cause"),
    [
        ("NOPERM this user has no permissions to run the 'get' command", "NOPERM", Cause.DENIED),
        ("NOPERM User ada has no permissions to access the 'secret' key", "NOPERM", Cause.DENIED),
        ("ERR unknown command 'COMMANDLOG', with args beginning with: 'LEN'", "ERR", Cause.UNKNOWN),
        ("ERR unknown subcommand 'HISTOGRAM'. Try LATENCY HELP.", "ERR", Cause.UNKNOWN),
        ("ERR Unknown subcommand or wrong number of arguments for 'histogram'", "ERR", Cause.UNKNOWN),
        ("ERR no such key", "ERR", Cause.MISSING),
        ("LOADING Redis is loading the dataset in memory", "LOADING", Cause.OTHER),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", "WRONGTYPE", Cause.OTHER),
    ],
)
def test_refusals_are_told_apart_and_say_no_more_than_their_code(message, code, cause):
    refusal = read(f"-{message}\r\n".encode())
    assert (refusal.code, refusal.cause) == (code, cause)
    assert "ada" not in repr(refusal)
    assert "secret" not in repr(refusal)


def test_a_moved_slot_says_whom_to_ask():
    assert Refusal.of("MOVED 3999 127.0.0.1:6381") == Refusal("MOVED", Cause.OTHER, "127.0.0.1:6381")


@contextlib.asynccontextmanager
async def serving(handler: Handler, **access: Any) -> AsyncIterator[Redis]:
    tasks: list[asyncio.Task[Any] | None] = []

    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.current_task())
        try:
            with contextlib.suppress(ConnectionError):
                await handler(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(guarded, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    redis = Redis(RedisAccess(port=port, **{"timeout_seconds": 5.0, **access}))
    try:
        yield redis
    finally:
        await redis.close()
        server.close()
        await server.wait_closed()
        if tasks:
            await asyncio.wait([task for task in tasks if task], timeout=5)


def saying(answer: bytes, *, then_close: bool = True) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(answer)
        if then_close:
            writer.close()
        else:
            await reader.read()
            writer.close()

    return handle


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "closed the connection"),
        (b"$10\r\nhalf", "closed the connection"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak the protocol"),
        (b"$999999999999\r\n", "does not speak the protocol"),
        (b"x" * 200_000, "does not speak the protocol"),
    ],
)
async def test_a_server_that_is_none_is_told(answer, words):
    async with serving(saying(answer)) as redis:
        with pytest.raises(SourceUnavailable, match=words):
            await redis.ask([("PING",)])


async def test_after_a_failure_the_next_question_has_a_connection_of_its_own():
    asked = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        await reader.read(100)
        writer.write(b"+late\r\n" if asked > 1 else b"rubbish\r\n+an answer to the first\r\n")
        await writer.drain()
        await reader.read()
        writer.close()

    async with serving(handle) as redis:
        with pytest.raises(SourceUnavailable):
            await redis.ask([("PING",)])
        assert await redis.ask([("PING",)]) == ["late"]


async def test_a_cancelled_question_ends_its_connection():
    ended = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read(100)
            asked.set()
            await reader.read(100)
        writer.close()
        ended.set()

    asked = asyncio.Event()
    async with serving(handle) as redis:
        task = asyncio.ensure_future(redis.ask([("PING",)]))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(ended.wait(), 5)


async def test_a_silent_server_is_given_up_at_the_timeout():
    async with serving(saying(b"", then_close=False), timeout_seconds=0.05) as redis:
        with pytest.raises(SourceUnavailable, match=r"within 0\.05 s"):
            await redis.ask([("PING",)])


async def test_a_refused_password_is_not_shown():
    async with serving(saying(b"-WRONGPASS invalid username-password pair\r\n"), password=SecretStr(SECRET)) as redis:
        with pytest.raises(SourceRefused, match="WRONGPASS") as caught:
            await redis.ask([("PING",)])
    assert SECRET not in f"{caught.value!r}{caught.value.__cause__!r}{redis._access!r}"


async def test_a_password_that_is_nowhere_is_a_matter_of_configuration(monkeypatch):
    monkeypatch.delenv("NO_SUCH_PASSWORD", raising=False)
    async with serving(saying(b"+OK\r\n"), password=SecretStr("env:NO_SUCH_PASSWORD")) as redis:
        with pytest.raises(ConfigError, match="NO_SUCH_PASSWORD"):
            await redis.ask([("PING",)])


async def test_certificates_that_cannot_be_read_are_a_matter_of_configuration(tmp_path):
    for name in ("ca_file", "certificate_file"):
        async with serving(saying(b""), tls=True, **{name: tmp_path / "none.pem"}) as redis:
            with pytest.raises(ConfigError, match="certificate_file"):
                await redis.ask([("PING",)])


async def test_a_server_without_tls_is_told_to_one_who_wants_it():
    async with serving(saying(b"-ERR unknown command\r\n"), tls=True) as redis:
        with pytest.raises(SourceUnavailable):
            await redis.ask([("PING",)])


async def test_nobody_listens_and_nothing_is_there_to_connect_to(tmp_path):
    redis = Redis(RedisAccess(unix_socket=str(tmp_path / "none.sock")))
    with pytest.raises(SourceUnavailable, match="can't be reached"):
        await redis.ask([("PING",)])
    with pytest.raises(SourceUnavailable, match="does not speak"):
        await redis.ask([("PING",)], "no-port")
    await redis.close()
