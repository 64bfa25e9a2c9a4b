"""Balancers that refuse, hang, drip, lie and break off: each gives the error that says what to do, and no secret."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from collectors.catalog.performance.load_balancer import LoadBalancerCollector, LoadBalancerConfig
from collectors.clock import SYSTEM_CLOCK
from collectors.drivers.haproxy import HaproxySocket
from collectors.drivers.health_check import HealthChecker, Probe
from collectors.drivers.http_source import HttpSource
from collectors.errors import CollectorsError, ConfigError, SourceRefused, SourceUnavailable
from collectors.model.metric import Window

WINDOW = Window(0, 1)
PAGE = "Active connections: 1 \nserver accepts handled requests\n 1 1 1 \nReading: 0 Writing: 1 Waiting: 0 \n"
SECRET = "s3cret-s3cret"
Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(peer: Peer, path: Path | None = None, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Run a server of one's own making; yields ``host:port``, or the socket's path."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await peer(reader, writer)
        finally:
            writer.close()

    if path is None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
        place = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    else:
        server, place = await asyncio.start_unix_server(serve, str(path)), str(path)
    try:
        yield place
    finally:
        server.close()


def http(status: int, body: str = "", headers: str = "") -> Peer:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 {status} Whatever\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{headers}\r\n"
        writer.write((head + body).encode())
        await writer.drain()

    return answer


async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()  # half-open: the peer takes the question and says nothing until it is let go


async def drips(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while not reader.at_eof():
        writer.write(b"x")
        await asyncio.wait([asyncio.ensure_future(reader.read(1))], timeout=0.01)


async def breaks_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
    await writer.drain()


async def outcome(settings: dict[str, Any], patience_s: float = 10.0) -> CollectorsError | None:
    """Return what collecting raises."""
    collector = LoadBalancerCollector(LoadBalancerConfig(request_timeout_seconds=patience_s, **settings))
    await collector.open()
    raised: CollectorsError | None = None
    try:
        await collector.collect(WINDOW)
    except CollectorsError as error:
        raised = error
    finally:
        await collector.close()
    if raised is not None:
        assert SECRET not in f"{raised!r} {raised.__cause__!r} {collector.config!r}"
    return raised


def asked(product: str, place: str) -> dict[str, Any]:
    return {"product": product, "address": f"http://{place}/status", "username": "u", "password": SECRET}


@pytest.mark.parametrize("product", ["haproxy", "nginx", "nginx_plus", "envoy"])
@pytest.mark.parametrize(
    ("peer", "error"),
    [
        (http(401), SourceRefused),
        (http(403), SourceRefused),
        (http(404), SourceRefused),
        (http(302, headers="Location: http://127.0.0.1:1/\r\n"), SourceRefused),
        (http(500), SourceUnavailable),
        (http(200, "garbage \x00 {"), SourceUnavailable),
        (http(200, "{}"), SourceUnavailable),
        (http(200, ""), SourceUnavailable),
        (never, SourceUnavailable),
        (drips, SourceUnavailable),
        (breaks_off, SourceUnavailable),
    ],
    ids=["401", "403", "404", "302", "500", "garbage", "empty_json", "empty", "half_open", "drips", "breaks_off"],
)
async def test_every_fault_of_a_page_is_a_typed_error(product: str, peer: Peer, error: type[CollectorsError]) -> None:
    async with listening(peer) as place:
        assert type(await outcome(asked(product, place), 0.2 if peer in {never, drips} else 10.0)) is error


async def test_a_refused_connection_is_unavailable() -> None:
    async with listening(never) as place:
        pass
    for settings in (asked("nginx", place), {"address": f"tcp://{place}"}, {"address": "unix:/nowhere/s"}):
        assert type(await outcome(settings)) is SourceUnavailable


async def test_the_password_is_sent_to_the_balancer_only() -> None:
    seen: list[bytes] = []

    async def remember(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        await http(200, PAGE)(FakeReader(), writer)

    class FakeReader(asyncio.StreamReader):
        async def readuntil(self, separator: Any = b"\n") -> bytes:
            return b""

    async with listening(remember) as place:
        assert await outcome(asked("nginx", place)) is None
        assert await outcome(asked("nginx", place) | {"username": ""}) is None
    expected = base64.b64encode(f"u:{SECRET}".encode())
    assert expected in seen[0]
    assert b"authorization" not in seen[1].lower()


async def test_it_recovers_once_the_balancer_answers() -> None:
    answers = [http(500), never, http(200, PAGE)]

    async def next_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answers.pop(0)(reader, writer)

    async with listening(next_one) as place:
        collector = LoadBalancerCollector(
            LoadBalancerConfig(product="nginx", address=f"http://{place}/status", request_timeout_seconds=1.0)
        )
        await collector.open()
        for _ in range(2):
            with pytest.raises(SourceUnavailable):
                await collector.collect(WINDOW)
        assert (await collector.collect(WINDOW)).samples
        await collector.close()


async def test_a_page_that_fails_among_others_is_an_issue() -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked_for = await reader.readuntil(b"\r\n\r\n")
        body = b'{"version": "1.25.3"}' if asked_for.startswith(b"GET /nginx ") else b""
        status = b"200 OK" if body else b"500 Away" if b"/workers" in asked_for else b"404 Not there"
        writer.write(b"HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (status, len(body), body))

    async with listening(peer) as place:
        collector = LoadBalancerCollector(LoadBalancerConfig(product="nginx_plus", address=f"http://{place}/"))
        await collector.open()
        collection = await collector.collect(WINDOW)
        await collector.close()
    assert [(issue.code, issue.item) for issue in collection.issues] == [("source_unavailable", "workers")]


async def test_an_answer_without_end_is_cut() -> None:
    async with listening(http(200, "x" * 5000)) as place:
        source = HttpSource(f"http://{place}", max_bytes=1000)
        with pytest.raises(SourceRefused, match="1,000 bytes"):
            await source.get()
        await source.close()
        await source.close()


async def test_pages_are_read_over_a_unix_socket_too(tmp_path: Path) -> None:
    async with listening(http(200, PAGE), tmp_path / "s") as place:
        assert await outcome({"product": "nginx", "address": f"unix:{place}"}) is None


def certificate(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.fromtimestamp(SYSTEM_CLOCK.now_us() / 1e6, UTC)
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8
    path = folder / "both.pem"
    path.write_bytes(
        built.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    )
    return path


async def test_a_certificate_must_be_trusted(tmp_path: Path) -> None:
    both = certificate(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(both)
    async with listening(http(200, PAGE), tls=tls) as place:
        settings = {"product": "nginx", "address": f"https://localhost:{place.rpartition(':')[2]}/"}
        refused = await outcome(settings)
        assert isinstance(refused, SourceRefused)
        assert "ca_file" in str(refused)
        assert await outcome(settings | {"ca_file": str(both)}) is None
        assert isinstance(await outcome(settings | {"ca_file": "/nowhere"}), ConfigError)


def says(text: str) -> Peer:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(text.encode())
        await writer.drain()

    return answer


@pytest.mark.parametrize(
    ("peer", "error"),
    [
        (says("Permission denied\n"), SourceRefused),
        (says("Unknown command: 'show stat'\n"), SourceRefused),
        (says("x" * 5000), SourceRefused),
        (says(""), SourceUnavailable),
        (never, SourceUnavailable),
    ],
    ids=["denied", "unknown", "endless", "closed", "half_open"],
)
async def test_every_fault_of_a_stats_socket_is_a_typed_error(
    tmp_path: Path, peer: Peer, error: type[CollectorsError]
) -> None:
    async with listening(peer, tmp_path / "s") as place:
        driver = HaproxySocket(f"unix:{place}", timeout_s=0.2 if peer is never else 10.0, max_bytes=1000)
        with pytest.raises(error):
            await driver.read()
        await driver.close()


async def test_a_stats_socket_that_may_not_be_opened_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no(*_: Any) -> Any:
        raise PermissionError

    monkeypatch.setattr(asyncio, "open_unix_connection", no)  # root, who runs tests in containers, may open any
    with pytest.raises(SourceRefused, match="group"):
        await HaproxySocket(f"unix:{tmp_path}/s").read()


async def test_commands_that_are_refused_leave_the_others(tmp_path: Path) -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        command = await reader.readline()
        writer.write(b"statistics" if b"stat" in command else b"Permission denied\n")

    async with listening(peer) as place:
        texts = await HaproxySocket(f"tcp://{place}").read()
    assert texts["stat"] == "statistics"
    assert isinstance(texts["info"], SourceRefused)


@pytest.mark.parametrize(
    ("peer", "probe", "reason"),
    [
        (http(200, "all ok"), Probe("http://{}/", contains="ok"), ""),
        (http(200, "all ok"), Probe("tcp://{}"), ""),
        (http(204), Probe("http://{}/"), ""),
        (http(200, "bad"), Probe("http://{}/", contains="ok"), "text_missing"),
        (http(200, "x" * (2 << 20) + "ok"), Probe("http://{}/", contains="ok"), "text_missing"),
        (http(503), Probe("http://{}/"), "status_503"),
        (http(302, headers="Location: /\r\n"), Probe("http://{}/", max_status=299), "status_302"),
        (never, Probe("http://{}/"), "timeout"),
        (breaks_off, Probe("http://{}/", contains="ok"), "connection_failed"),
    ],
)
async def test_health_checks_say_why_they_fail(peer: Peer, probe: Probe, reason: str) -> None:
    checker = HealthChecker(timeout_s=0.2 if peer is never else 10.0)
    async with listening(peer) as place:
        result = await checker.check(Probe(probe.url.format(place), probe.min_status, probe.max_status, probe.contains))
    await checker.close()
    await checker.close()
    assert (result.passed, result.reason) == (not reason, reason)
    assert result.seconds >= 0


async def test_health_checks_of_nobody_fail() -> None:
    async with listening(never) as place:
        pass
    checker = HealthChecker()
    for scheme in ("tcp", "http"):
        assert (await checker.check(Probe(f"{scheme}://{place}"))).reason == "connection_failed"
    await checker.close()


@pytest.mark.parametrize("url", ["tcp://127.0.0.1:99999", "http://127.0.0.1:port/"])
async def test_an_address_that_cannot_be_is_a_failed_check(url: str) -> None:
    checker = HealthChecker()
    assert (await checker.check(Probe(url))).reason == "bad_address"
    await checker.close()
