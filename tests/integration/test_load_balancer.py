"""The load balancer collector on real HAProxy, nginx and Envoy, beside what they and an exporter say themselves."""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator, Iterator
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
from collectors.errors import SourceRefused, SourceUnavailable
from collectors.model.metric import Collection, Window
from tests.support.servers.balancing import Process, Site, fetch, free_ports, sites, wait_until
from tests.support.servers.envoy import MISSING as NO_ENVOY
from tests.support.servers.envoy import Envoy, envoy, find_envoy
from tests.support.servers.haproxy import MISSING as NO_HAPROXY
from tests.support.servers.haproxy import PASSWORD, USER, Haproxy, find_haproxy, haproxy
from tests.support.servers.nginx import MISSING as NO_NGINX
from tests.support.servers.nginx import Nginx, find_nginx, nginx

WINDOW = Window(0, 1)
L = "collectors.load_balancer"
OTHER_NAMES = {
    "compressor_bytes_bypassed": "http_comp_bytes_bypassed",
    "compressor_bytes_in": "http_comp_bytes_in",
    "compressor_bytes_out": "http_comp_bytes_out",
    "http_responses_compressed": "http_comp_responses",
    "current_server": "active_servers",
    "http_connect_time_average": "connect_time_average",
    "http_queue_time_average": "queue_time_average",
    "http_response_time_average": "response_time_average",
    "http_total_time_average": "total_time_average",
    "server_selected": "loadbalanced",
}
"""Debian's exporter calls some columns otherwise than HAProxy's own page, which we follow."""
Values = dict[tuple[str, ...], float | None]


@asynccontextmanager
async def collector(**settings: Any) -> AsyncIterator[LoadBalancerCollector]:
    made = LoadBalancerCollector(LoadBalancerConfig(**settings))
    await made.open()
    try:
        yield made
    finally:
        await made.close()


def values(collection: Collection) -> Values:
    got: Values = {(s.metric, *s.labels): s.value for s in collection.samples}
    assert len(got) == len(collection.samples), "a series came twice"
    declared = {spec.name for spec in LoadBalancerCollector.emits}
    assert {s.metric for s in collection.samples} <= declared
    return got


def rules(collection: Collection) -> set[tuple[str, str]]:
    return {(finding.rule, finding.key) for finding in collection.findings}


@pytest.fixture
def web() -> Iterator[list[Site]]:
    with sites(2) as made:
        yield made


@pytest.fixture
def balancer(tmp_path: Path, web: list[Site]) -> Iterator[Haproxy]:
    if find_haproxy() is None:
        pytest.skip(NO_HAPROXY)
    with haproxy(tmp_path, web) as running:
        wait_until(lambda: running.ask("show stat").count(",UP,") >= 2, "both servers are up")
        yield running


def served(running: Haproxy, requests: int) -> None:
    """Wait until HAProxy has counted the requests, which it does a moment after their answers."""

    def counted() -> bool:
        head, *rows = (line.split(",") for line in running.ask("show stat").lstrip("# ").splitlines() if line)
        (backend,) = [row for row in rows if row[:2] == ["app0", "BACKEND"]]
        return int(backend[head.index("hrsp_2xx")]) >= requests

    wait_until(counted, f"{requests} requests are counted")


def settings(running: Haproxy, way: str) -> dict[str, Any]:
    ways = {
        "socket": {"address": f"unix:{running.socket}"},
        "csv": {"address": running.csv_url, "username": USER, "password": PASSWORD},
        "prometheus": {"address": running.prometheus_url},
    }
    return {"product": "haproxy", **ways[way]}


@pytest.mark.parametrize("way", ["socket", "csv", "prometheus"])
async def test_haproxy_is_told_alike_by_socket_csv_and_prometheus_page(balancer: Haproxy, way: str) -> None:
    for number in range(6):
        assert fetch(f"http://127.0.0.1:{balancer.port}/{number}")[0] == 200
    served(balancer, 6)
    async with collector(**settings(balancer, way)) as lb:
        collection = await lb.collect(WINDOW)
    got = values(collection)
    assert got[f"{L}.backend.requests", "app0"] == 6
    assert got[f"{L}.backend.responses", "app0", "2xx"] == 6
    assert got[f"{L}.server.up", "app0", "s0"] == got[f"{L}.server.up", "app0", "s1"] == 1
    assert got["collectors.haproxy.server.check_status", "app0", "s0", "L7OK"] == 1
    assert got["collectors.haproxy.server.check_code", "app0", "s0"] == 200
    assert got["collectors.haproxy.backend.agg_server_status", "app0", "UP"] == 2
    assert collection.issues == ()
    if way != "csv":
        assert got["collectors.haproxy.process.max_connections",] == 200
        assert got["collectors.haproxy.sticktable.size", "web", "ip"] == 1024


async def test_every_value_is_that_of_the_prometheus_page(balancer: Haproxy) -> None:
    """The page is written by HAProxy's own exporter: an oracle for what we make of the CSV of the socket."""
    for number in range(5):
        fetch(f"http://127.0.0.1:{balancer.port}/{number}")
    served(balancer, 5)
    async with (
        collector(**settings(balancer, "socket")) as by_socket,
        collector(**settings(balancer, "prometheus")) as by_page,
    ):
        fetch(balancer.prometheus_url)  # so that the statistics' own frontend has been used before either looks
        one, other = values(await by_socket.collect(WINDOW)), values(await by_page.collect(WINDOW))
    moving = ("process", "status")  # what asking itself changes
    compared = 0
    for key in one.keys() & other.keys():
        still = not key[0].startswith("collectors.haproxy.process") and moving[1] not in key
        if still and "check_duration" not in key[0] and "rate" not in key[0]:
            assert one[key] == pytest.approx(other[key], abs=1.0), key
            compared += 1
    assert compared > 200


async def test_shared_metrics_are_those_of_debians_exporter(balancer: Haproxy, tmp_path: Path) -> None:
    program = shutil.which("prometheus-haproxy-exporter")
    if program is None:
        pytest.skip("NOT TESTED: no exporter to compare with; apt-get install prometheus-haproxy-exporter")
    for number in range(7):
        fetch(f"http://127.0.0.1:{balancer.port}/{number}")
    served(balancer, 7)
    (port,) = free_ports(1)
    scrape = f"--haproxy.scrape-uri=http://{USER}:{PASSWORD}@127.0.0.1:{balancer.stats_port}/stats;csv"
    url = f"http://127.0.0.1:{port}/metrics"
    exporter = Process(
        [program, scrape, f"--web.listen-address=127.0.0.1:{port}"],
        tmp_path / "exporter.log",
        lambda: fetch(f"http://127.0.0.1:{port}/")[0] == 200,
    )
    exporter.start()
    try:
        async with collector(**settings(balancer, "csv")) as lb:
            theirs = fetch(url)[1]
            ours = values(await lb.collect(WINDOW))
    finally:
        exporter.stop()
    compared, missing = 0, set()
    line = re.compile(r"^haproxy_(backend|server|frontend)_(\w+)\{(.*)\} (\S+)$", re.MULTILINE)
    for what, name, labels, value in line.findall(theirs):
        found = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        own = re.sub(r"(_total|_seconds)+$", "", name)
        metric = f"{L}.{what}.up" if own == "up" else f"collectors.haproxy.{what}.{OTHER_NAMES.get(own, own)}"
        key = (metric, found["frontend" if what == "frontend" else "backend"])
        key += tuple(found[label] for label in ("server", "code") if label in found)
        if "status" in key:
            continue  # the frontend that is asked: asking changes it
        if key not in ours:
            missing.add(f"{what}_{name}")
        else:
            assert ours[key] == pytest.approx(float(value), abs=1.0), key
            compared += 1
    assert not missing, sorted(missing)
    assert compared >= 80


async def test_a_server_that_goes_down_is_found_at_the_next_look(balancer: Haproxy, web: list[Site]) -> None:
    async with collector(**settings(balancer, "socket")) as lb:
        assert (await lb.collect(WINDOW)).findings == ()
        web[1].stop()
        wait_until(lambda: ",DOWN," in balancer.ask("show stat"), "the server is down")
        down = await lb.collect(WINDOW)
        assert ("server_down", "app0/s1") in rules(down)
        assert values(down)[f"{L}.servers_down",] == 1
        web[0].stop()
        wait_until(lambda: balancer.ask("show stat").count(",DOWN,") >= 3, "all are down")
        assert ("backend_down", "app0") in rules(await lb.collect(WINDOW))
        web[0].start()
        web[1].start()
        wait_until(lambda: ",DOWN," not in balancer.ask("show stat"), "all are up")
        assert {("backend_up", "app0"), ("server_up", "app0/s0"), ("server_up", "app0/s1")} <= rules(
            await lb.collect(WINDOW)
        )


async def test_a_server_that_was_down_between_two_looks_is_found(balancer: Haproxy, web: list[Site]) -> None:
    async with collector(**settings(balancer, "socket")) as lb:
        await lb.collect(WINDOW)
        web[1].stop()
        wait_until(lambda: ",DOWN," in balancer.ask("show stat"), "the server is down")
        web[1].start()
        wait_until(lambda: ",DOWN," not in balancer.ask("show stat"), "the server is up again")
        found = await lb.collect(WINDOW)
        assert rules(found) == {("server_flapped", "app0/s1")}


async def test_maintenance_is_no_finding(balancer: Haproxy) -> None:
    async with collector(**settings(balancer, "socket")) as lb:
        await lb.collect(WINDOW)
        balancer.ask("set server app0/s1 state maint")
        balancer.ask("set server app0/s0 state drain")
        collection = await lb.collect(WINDOW)
    got = values(collection)
    assert got[f"{L}.server.state", "app0", "s1", "maintenance"] == 1
    assert got[f"{L}.server.state", "app0", "s0", "draining"] == 1
    assert not [rule for rule, _ in rules(collection) if rule.startswith("server_")]


async def test_a_restart_between_two_looks_is_told_and_survived(balancer: Haproxy) -> None:
    async with collector(**settings(balancer, "socket")) as lb:
        for number in range(4):
            fetch(f"http://127.0.0.1:{balancer.port}/{number}")
        wait_until(lambda: "Uptime_sec: 0" not in balancer.ask("show info"), "a second has passed")
        before = values(await lb.collect(WINDOW))
        balancer.process.stop()
        with pytest.raises(SourceUnavailable):
            await lb.collect(WINDOW)
        balancer.process.start()
        after = await lb.collect(WINDOW)
    assert before[f"{L}.backend.requests", "app0"] == 4
    assert values(after)[f"{L}.backend.requests", "app0"] == 0
    assert ("balancer_restarted", "haproxy") in rules(after)


async def test_a_wrong_password_is_refused_and_not_told(balancer: Haproxy) -> None:
    wrong = settings(balancer, "csv") | {"password": "wrong-wrong-wrong"}
    async with collector(**wrong) as lb:
        with pytest.raises(SourceRefused) as refused:
            await lb.collect(WINDOW)
        assert "wrong-wrong" not in f"{refused.value!r} {lb.config!r}"
    async with collector(**settings(balancer, "csv")) as lb:
        assert values(await lb.collect(WINDOW))[f"{L}.up",] == 1


async def test_own_checks_find_a_server_the_balancer_believes_in(tmp_path: Path, web: list[Site]) -> None:
    if find_haproxy() is None:
        pytest.skip(NO_HAPROXY)
    with haproxy(tmp_path, web, check_ms=0) as running:
        web[1].status = 500
        own = settings(running, "socket") | {"check_servers": "http", "check_fall": 1}
        async with collector(**own) as lb:
            collection = await lb.collect(WINDOW)
    got = values(collection)
    assert got[f"{L}.server.state", "app0", "s1", "unchecked"] == 1
    assert got[f"{L}.check.up", "app0/s0"] == 1
    assert got[f"{L}.check.up", "app0/s1"] == 0
    assert got[f"{L}.check.disagreements",] == 1
    assert {("check_failed", "app0/s1"), ("balancer_disagrees", "app0/s1")} <= rules(collection)


@pytest.fixture
def status(tmp_path: Path) -> Iterator[Nginx]:
    if find_nginx() is None:
        pytest.skip(NO_NGINX)
    with nginx(tmp_path) as running:
        yield running


async def test_nginx_counts_what_it_was_asked(status: Nginx) -> None:
    before = int(fetch(status.status_url)[1].split()[9])
    for number in range(5):
        fetch(f"http://127.0.0.1:{status.port}/{number}")
    async with collector(product="nginx", address=status.status_url) as lb:
        got = values(await lb.collect(WINDOW))
    assert got["collectors.nginx.http_requests.total",] == before + 5 + 1  # ours too
    assert got["collectors.nginx.connections.dropped",] == 0
    assert got[f"{L}.frontend.sessions", "nginx"] == 1


async def test_nginx_asks_for_the_password(status: Nginx) -> None:
    private = status.status_url.replace("/status", "/private")
    async with collector(product="nginx", address=private) as lb:
        with pytest.raises(SourceRefused):
            await lb.collect(WINDOW)
    async with collector(product="nginx", address=private, username=USER, password=PASSWORD) as lb:
        assert values(await lb.collect(WINDOW))[f"{L}.up",] == 1


async def test_nginx_that_has_no_such_page_says_so(status: Nginx) -> None:
    async with collector(product="nginx", address=f"http://127.0.0.1:{status.port}/elsewhere") as lb:
        with pytest.raises(SourceUnavailable, match="stub_status"):
            await lb.collect(WINDOW)


def certificate(folder: Path, expires: datetime) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), 4711)
        .not_valid_before(expires - timedelta(days=30))
        .not_valid_after(expires)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "c.pem", folder / "k.pem"
    paths[0].write_bytes(built.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return paths


EXPIRES = datetime.fromtimestamp(SYSTEM_CLOCK.now_us() // 1_000_000, UTC) + timedelta(days=20)


@pytest.fixture
def sidecar(tmp_path: Path, web: list[Site]) -> Iterator[Envoy]:
    if find_envoy() is None:
        pytest.skip(NO_ENVOY)
    with envoy(tmp_path, web, *certificate(tmp_path, EXPIRES)) as running:
        wait_until(lambda: fetch(f"http://127.0.0.1:{running.port}/")[0] == 200, "it serves")
        yield running


def envoy_says(running: Envoy, name: str) -> int:
    """Ask Envoy's plain page, which we do not read."""
    text = fetch(f"{running.admin_url}/stats?filter=^{re.escape(name)}$")[1]
    return int(text.partition(":")[2] or 0)


async def test_envoy_is_told_as_its_own_page_says(sidecar: Envoy, web: list[Site]) -> None:
    for number in range(6):
        fetch(f"http://127.0.0.1:{sidecar.port}/{number}")
    async with collector(product="envoy", address=sidecar.admin_url) as lb:
        collection = await lb.collect(WINDOW)
    got = values(collection)
    assert collection.issues == ()
    served = envoy_says(sidecar, "http.web.downstream_rq_2xx")
    assert served >= 7
    assert got[f"{L}.frontend.responses", "web", "2xx"] == served
    assert got[f"{L}.backend.responses", "app.main", "2xx"] == served
    assert got["collectors.envoy.cluster.upstream_rq_total", "app.main"] == envoy_says(
        sidecar, "cluster.app.main.upstream_rq_total"
    )
    assert got["collectors.envoy.cluster.circuit_breaker.remaining_cx", "app.main", "default"] <= 50
    assert got["collectors.envoy.cluster.circuit_breaker.max_connections", "app.main", "default"] == 50
    hosts = [got["collectors.envoy.host.rq_success", "app.main", f"127.0.0.1:{site.port}"] for site in web]
    assert sum(h or 0 for h in hosts) == served
    expiry = [v for k, v in got.items() if k[0] == "collectors.envoy.certificate.expires"]
    assert expiry == [EXPIRES.timestamp()]
    assert got["collectors.envoy.listener.downstream_cx_total", "web"] == envoy_says(
        sidecar, f"listener.127.0.0.1_{sidecar.port}.downstream_cx_total"
    )


async def test_envoy_hosts_that_fail_their_check_are_found(sidecar: Envoy, web: list[Site]) -> None:
    host = f"127.0.0.1:{web[1].port}"
    async with collector(product="envoy", address=sidecar.admin_url) as lb:
        assert (await lb.collect(WINDOW)).findings == ()
        web[1].status = 503
        wait_until(lambda: "failed_active_hc" in fetch(f"{sidecar.admin_url}/clusters")[1], "the check fails")
        down = await lb.collect(WINDOW)
        assert ("server_down", f"app.main/{host}") in rules(down)
        assert values(down)["collectors.envoy.host.flag", "app.main", host, "failed_active_health_check"] == 1
        web[1].status = 200
        wait_until(lambda: "failed_active_hc" not in fetch(f"{sidecar.admin_url}/clusters")[1], "it is well")
        assert rules(await lb.collect(WINDOW)) == {("server_up", f"app.main/{host}")}
