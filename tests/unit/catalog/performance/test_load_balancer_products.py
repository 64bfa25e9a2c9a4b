"""nginx, NGINX Plus and Envoy, each read into the shared model from what it was recorded to say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from collectors.catalog.performance.balancer import envoy, nginx, nginx_plus
from collectors.catalog.performance.balancer.model import ServerState
from collectors.errors import SourceRefused, SourceUnavailable

CASES = Path(__file__).parents[3] / "golden" / "load_balancer"


def test_nginx_reads_the_page_of_builds_that_count_time_too() -> None:
    page = (
        "Active connections: 2 \nserver accepts handled requests request_time\n 10 9 30 55\n"
        "Reading: 0 Writing: 1 Waiting: 1 \n"
    )
    reading = nginx.read({"status": page})
    assert reading.frontends[0].traffic.requests == 30
    assert {s.metric: s.value for s in reading.samples}["collectors.nginx.connections.dropped"] == 1
    with pytest.raises(SourceUnavailable):
        nginx.read({"status": "<html>"})


def plus() -> dict[str, Any]:
    folder = CASES / "nginx_plus_api"
    return {str(p.relative_to(folder).with_suffix("")): p.read_text() for p in folder.rglob("*.json")}


def test_nginx_plus_is_read_into_the_shared_model() -> None:
    reading = nginx_plus.read(plus())
    app = {s.name: s for s in reading.servers if s.backend == "app"}
    assert app["10.0.0.1:8088"].state is ServerState.UP
    assert app["10.0.0.2:8088"].state is ServerState.DOWN
    assert app["10.0.0.2:8088"].downs == 2  # once for fails, once for its health check
    assert app["10.0.0.1:8088"].traffic.latency == {"response": 0.036}
    names = [s.name for s in reading.servers if s.backend == "mysql"]
    assert names == ["10.0.0.1:3306", "10.0.0.1:3306#1"]  # one address twice
    up = {b.name: b.up for b in reading.backends}
    assert up == {"app": True, "empty": True, "mysql": True}  # nobody is meant to serve there
    assert reading.issues == ()


def test_nginx_plus_without_stream_is_no_fault_and_a_broken_answer_is_an_issue() -> None:
    texts = plus() | {"stream/upstreams": SourceRefused("no page /stream/upstreams (404)"), "http/caches": "{"}
    texts |= {"workers": SourceUnavailable("away"), "http/server_zones": "[]"}
    reading = nginx_plus.read(texts)
    assert sorted(issue.item for issue in reading.issues) == ["http/caches", "workers"]
    for broken in ("{}", "no"):
        with pytest.raises(SourceUnavailable):
            nginx_plus.read({"nginx": broken})


def envoy_pages(case: str) -> dict[str, Any]:
    return {p.stem: p.read_text() for p in (CASES / case).glob("*.json")}


def test_an_istio_sidecars_cluster_names_have_dots_and_bars() -> None:
    reading = envoy.read(envoy_pages("envoy_every_statistic"))
    name = "outbound|9080||reviews.default.svc.cluster.local"
    assert [b.name for b in reading.backends] == [name]
    assert {s.name: s.state for s in reading.servers} == {
        "10.1.0.1:9080": ServerState.UP,
        "10.1.0.2:9080": ServerState.DOWN,
        "10.1.0.3:9080": ServerState.DRAINING,
        "10.1.0.4:9080": ServerState.DOWN,
    }
    got = {(s.metric, *s.labels): s.value for s in reading.samples}
    assert got["collectors.envoy.cluster.upstream_rq_xx", name, "5xx"] == 6
    assert got["collectors.envoy.cluster.upstream_rq_status", name, "503"] == 6
    assert got["collectors.envoy.cluster.upstream_rq_time_quantile", name, "0.99"] == 0.0205
    assert got["collectors.envoy.host.success_rate", name, "10.1.0.1:9080"] == 0.995
    # 2^64-1 is Envoy's word for no limit.
    assert ("collectors.envoy.cluster.circuit_breaker.remaining_cx", name, "default") not in got
    assert not [key for key in got if "admin" in key]


def test_envoy_without_its_other_pages_still_tells_statistics() -> None:
    pages = envoy_pages("envoy_admin") | {"clusters": SourceUnavailable("away"), "certs": "{", "listeners": "[]"}
    reading = envoy.read(pages)
    assert sorted(issue.item for issue in reading.issues) == ["certs", "clusters"]
    assert any(
        s.metric == "collectors.envoy.cluster.upstream_rq_total" and s.labels == ("app",) for s in reading.samples
    )


def test_envoys_odd_values_do_not_stop_it() -> None:
    pages = envoy_pages("envoy_every_statistic")
    certs = json.loads(pages["certs"])
    certs["certificates"].append(certs["certificates"][0])
    certs["certificates"][0]["ca_cert"][0] |= {"expiration_time": "soon", "serial_number": "zz"}
    clusters = json.loads(pages["clusters"])
    hosts = clusters["cluster_statuses"][0]["host_statuses"]
    hosts.append(hosts[0])
    hosts.append({"address": {"pipe": {"path": "/run/app"}}, "stats": [{"name": "rq_total", "value": "-1"}]})
    reading = envoy.read(pages | {"certs": json.dumps(certs), "clusters": json.dumps(clusters)})
    assert [issue.code for issue in reading.issues] == ["malformed"]
    assert [s.name for s in reading.servers][-1] == "/run/app"
    series = [(s.metric, s.labels) for s in reading.samples]
    assert len(series) == len(set(series))
    for broken in ("{}", "no", '{"stats": [{"name": "a.b", "value": 1}]}'):
        with pytest.raises(SourceUnavailable):
            envoy.read({"stats": broken})
