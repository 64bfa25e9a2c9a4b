"""The Redis collector on real servers that restart, hang, refuse, or let only some in."""

from __future__ import annotations

import contextlib
import re
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from collectors.errors import CollectorsError, SourceRefused, SourceUnavailable
from tests.support.redis_coverage import ROOT
from tests.support.servers import redis as support
from tests.support.servers.redis import Server, Servers, free_port
from tests.support.servers.redis_runs import (
    OWN,
    SECRET,
    WINDOW,
    answers_as,
    binary_of,
    collected,
    documented_rights,
    opened,
    values,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with support.servers(tmp_path_factory.mktemp("redis")) as servers:
        yield servers


async def test_the_documented_rights_are_enough_and_each_one_is_needed(made):
    server = made.standalone(binary_of("redis"))
    server.ask("SET", "volume", 11)
    server.ask("XADD", "plays", "*", "a", 1)
    server.ask("XGROUP", "CREATE", "plays", "g", 0)
    server.ask("XREADGROUP", "GROUP", "g", "worker", "STREAMS", "plays", ">")
    for kind in ("RPUSH l 1", "SADD s 1", "ZADD z 1 a", "HSET h a 1"):
        server.ask(*kind.split())
    rights = documented_rights()
    server.ask(*rights)
    config: dict[str, Any] = {
        "username": "collectors",
        "password": SECRET,
        "streams": ("plays", "p*"),
        "keys": ("volume", "plays", "l", "s", "z", "h"),
        "key_groups": ("(a)",),
    }
    whole = await collected(server, **config)
    assert whole.issues == ()
    for right in [r for r in rights if r.startswith("+") and "cluster" not in r and r != "+ping"]:
        server.ask("ACL", "SETUSER", "collectors", right.replace("+", "-"))
        less = await collected(server, **config)
        assert any(right in issue.message for issue in less.issues), right
        if right != "+latency|latest":  # nothing was slow, so that it tells nothing
            assert values(whole).keys() - values(less).keys(), right
        assert SECRET not in repr(less)
        server.ask("ACL", "SETUSER", "collectors", right)
    assert (await collected(server, **config)).issues == ()
    for command in ("GET volume", "SET volume 1", "CONFIG SET maxmemory 1", "FLUSHALL", "KEYS *", "ACL LIST"):
        assert not answers_as(server, *command.split())


async def test_a_valkey_needs_one_right_more(made):
    server = made.standalone(binary_of("valkey"))
    server.ask(*documented_rights())
    login = {"username": "collectors", "password": SECRET}
    assert {issue.message for issue in (await collected(server, **login)).issues} == {
        "the server does not let this user; grant it +commandlog|len"
    }
    server.ask("ACL", "SETUSER", "collectors", "+commandlog|len")
    assert (await collected(server, **login)).issues == ()


async def test_the_documented_rights_are_enough_for_a_sentinel_and_for_a_cluster(made):
    page = (ROOT / "docs" / "redis.md").read_text()
    [rights] = re.findall(r"`(\+ping \+info \+sentinel[^`]+)`", page)
    sentinel = made.sentinels(made.standalone(binary_of("redis")), count=1, quorum=1)[0]
    sentinel.ask("ACL", "SETUSER", "collectors", "on", f">{SECRET}", "-@all", *rights.split())
    login = {"username": "collectors", "password": SECRET}
    collection = await collected(sentinel, **login)
    assert collection.issues == ()
    assert values(collection)[f"{OWN}sentinel.masters",] == 1
    assert values(collection)[f"{OWN}sentinel.setting", "resolve-hostnames"] == 0
    node = made.cluster(binary_of("redis"), count=1)[0]
    node.ask(*documented_rights())
    collection = await collected(node, **login)
    assert collection.issues == ()
    assert values(collection)[f"{OWN}cluster.node.up", f":{node.port}"] == 1  # it has met nobody who told its address


async def test_a_wrong_password_is_told_without_it(made, tmp_path):
    server = made.standalone(binary_of("redis"), "--requirepass", SECRET)
    for config, words in (
        ({"password": "wr0ng-4712"}, "does not accept this user, password"),
        ({}, "set username and password"),
        ({"username": "nobody", "password": SECRET}, "does not accept"),
    ):
        with pytest.raises(SourceRefused, match=words) as caught:
            await collected(server, **config)
        shown = f"{caught.value!r} {caught.value.__cause__!r}"
        assert "wr0ng-4712" not in shown
        assert SECRET not in shown
    place = tmp_path / "password"
    place.write_text(SECRET)
    async with opened(server, password=f"file:{place}") as collector:
        assert (await collector.collect(WINDOW)).samples
        server.ask("CONFIG", "SET", "requirepass", "rotated-1", password=SECRET)
        place.write_text("rotated-1")
        server.ask("CLIENT", "KILL", "TYPE", "normal", password="rotated-1")
        with pytest.raises(SourceUnavailable):
            await collector.collect(WINDOW)
        assert (await collector.collect(WINDOW)).samples  # the new password was read


async def test_rights_that_are_revoked_while_it_runs_become_issues(made):
    server = made.standalone(binary_of("redis"))
    server.ask("ACL", "SETUSER", "collectors", "on", f">{SECRET}", "+@all", "~*")
    async with opened(server, username="collectors", password=SECRET) as collector:
        assert (await collector.collect(WINDOW)).issues == ()
        server.ask("ACL", "SETUSER", "collectors", "-slowlog", "-client")
        collection = await collector.collect(WINDOW)
        assert {issue.item for issue in collection.issues} == {"SLOWLOG LEN", "SLOWLOG GET", "CLIENT LIST"}
        assert values(collection)["redis.uptime",] is not None
        server.ask("ACL", "DELUSER", "collectors")  # which ends its connections, too
        with pytest.raises(CollectorsError):
            await collector.collect(WINDOW)
        with pytest.raises(SourceRefused):
            await collector.collect(WINDOW)


async def test_a_restart_between_two_runs_is_an_error_once_and_a_new_life_after(made):
    server = made.standalone(binary_of("redis"))
    async with opened(server) as collector:
        await collector.collect(WINDOW)
        server.stop()
        with pytest.raises(SourceUnavailable):
            await collector.collect(WINDOW)
        with pytest.raises(SourceUnavailable, match="look whether it runs"):
            await collector.collect(WINDOW)
        server.start()
        fresh = values(await collector.collect(WINDOW))
        assert fresh[f"{OWN}slowlog.new",] is None  # nothing of the former life is compared with
        assert values(await collector.collect(WINDOW))[f"{OWN}slowlog.new",] == 0


async def test_a_server_that_hangs_is_left_after_the_timeout(made):
    server = made.standalone(binary_of("redis"))
    async with opened(server, request_timeout_seconds=0.3) as collector:
        await collector.collect(WINDOW)
        server.freeze()
        with pytest.raises(SourceUnavailable, match="did not answer within"):
            await collector.collect(WINDOW)
        with pytest.raises(SourceUnavailable, match="did not answer within"):  # the kernel still accepts
            await collector.collect(WINDOW)
        server.thaw()
        assert (await collector.collect(WINDOW)).samples


async def test_a_slow_server_is_waited_for_within_the_timeout(made):
    server = made.standalone(binary_of("redis"), "--enable-debug-command", "yes")
    async with opened(server, request_timeout_seconds=3.0) as collector:
        sleeper = threading.Thread(target=server.ask, args=("DEBUG", "SLEEP", "0.4"))
        with server_paused(server):
            sleeper.start()
        collection = await collector.collect(WINDOW)
        sleeper.join()
        assert collection.samples


@contextlib.contextmanager
def server_paused(server: Server) -> Iterator[None]:
    assert server.process is not None
    server.process.send_signal(signal.SIGSTOP)
    yield
    server.process.send_signal(signal.SIGCONT)


async def test_a_server_of_another_version_after_a_restart_is_taken_as_it_is(made):
    """An upgrade between two runs: Redis 7 stops, Valkey starts in its place."""
    old, new = binary_of("redis"), binary_of("valkey")
    server = made.standalone(old)
    async with opened(server) as collector:
        before = values(await collector.collect(WINDOW))
        server.stop()
        server.binary = new
        server.start()
        with pytest.raises(SourceUnavailable):
            await collector.collect(WINDOW)
        collection = await collector.collect(WINDOW)
    assert collection.issues == ()
    assert f"{OWN}commandlog.length" not in {name for name, *_ in before}
    assert f"{OWN}commandlog.length" in {s.metric for s in collection.samples}


async def test_a_unix_socket_and_a_database_of_its_own(made, tmp_path):
    path = tmp_path / "r.sock"
    server = made.standalone(binary_of("redis"), "--unixsocket", str(path))
    server.ask("SET", "volume", 1)
    got = values(await collected(server, unix_socket=str(path), port=1, database=3, keys=("volume",)))
    assert got[f"{OWN}key.exists", "volume"] == 0
    with pytest.raises(SourceRefused, match="password or database"):
        await collected(server, database=99)


def _certificate(folder: Path) -> tuple[Path, Path]:
    """Write a certificate of 127.0.0.1 that signs itself, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "redis.test")])
    address = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2120, 1, 1, tzinfo=UTC))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, secret = folder / "server.pem", folder / "server.key"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pem, secret


async def test_tls_checks_the_certificate_and_shows_its_own(made, tmp_path):
    pem, key = _certificate(tmp_path)
    port = free_port()
    made.standalone(
        binary_of("redis"), "--tls-port", str(port), "--tls-cert-file", str(pem), "--tls-key-file", str(key),
        "--tls-ca-cert-file", str(pem), "--tls-auth-clients", "yes",
    )  # fmt: skip
    server = Server("", tmp_path, port)
    own = {"tls": True, "certificate_file": pem, "certificate_key_file": key}
    assert (await collected(server, ca_file=pem, **own)).samples
    with pytest.raises(SourceRefused, match="set ca_file"):
        await collected(server, **own)
    with pytest.raises(SourceUnavailable):  # the server wants a certificate to be shown
        await collected(server, tls=True, ca_file=pem)
    with pytest.raises(SourceUnavailable):  # and TLS to be spoken
        await collected(server)


def test_the_fixture_leaves_no_server_behind(tmp_path: Path):
    with support.servers(tmp_path) as servers:
        server = servers.standalone(binary_of("redis"))
        process = server.process
    assert process is not None
    assert process.returncode == -signal.SIGKILL
