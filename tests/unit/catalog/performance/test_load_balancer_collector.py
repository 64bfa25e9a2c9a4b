"""The load balancer collector on texts: transitions, ratios, health of its own, bounds, and versions to come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from collectors.catalog.performance.balancer import haproxy
from collectors.catalog.performance.balancer.checks import Health
from collectors.catalog.performance.balancer.model import Backend, Reading, Server, ServerState, Traffic
from collectors.catalog.performance.balancer.transitions import MAX_FINDINGS, findings
from collectors.catalog.performance.load_balancer import LoadBalancerCollector, LoadBalancerConfig
from collectors.contract.collector import CollectorContext
from collectors.drivers.health_check import Outcome, Probe
from collectors.errors import LifecycleError, SourceRefused, SourceUnavailable
from collectors.model.metric import Collection, Window
from collectors.testing import BoundCheck, collector_checks

GOLDEN = Path(__file__).parents[3] / "golden"
CASES = GOLDEN / "load_balancer"
WINDOW = Window(90_000_000, 100_000_000)
L = "collectors.load_balancer"
HEADER = (
    "# pxname,svname,status,type,act,bck,weight,chkfail,chkdown,lastchg,hrsp_2xx,hrsp_5xx,scur,qcur,econ,lastsess,addr,"
)


@collector_checks([LoadBalancerCollector], golden=GOLDEN, lookup=lambda _: LoadBalancerCollector)
def test_it_keeps_the_contract(check: BoundCheck) -> None:
    check()


@dataclass
class Balancer:
    """Answers with texts, or raises, and remembers whether it was closed."""

    texts: dict[str, Any] = field(default_factory=dict)
    error: Exception | None = None
    closed: int = 0

    async def read(self) -> Mapping[str, Any]:
        if self.error is not None:
            raise self.error
        return self.texts

    async def close(self) -> None:
        self.closed += 1

    def csv(self, *lines: str) -> None:
        self.texts["stat"] = "\n".join((HEADER, *lines, ""))


class Targets:
    """Passes the URLs that are well."""

    def __init__(self, *well: str) -> None:
        self.well = set(well)

    async def check(self, probe: Probe) -> Outcome:
        return Outcome(True, 0.5) if probe.url in self.well else Outcome(False, 1.0, "timeout")

    async def close(self) -> None:
        """Do nothing."""


async def opened(balancer: Balancer, targets: Targets | None = None, **settings: Any) -> LoadBalancerCollector:
    drivers = {"load_balancer": balancer, "health_check": targets or Targets()}
    collector = LoadBalancerCollector(LoadBalancerConfig(**settings), CollectorContext(drivers=drivers))
    await collector.open()
    return collector


def server(name: str, status: str = "UP", downs: int = 0, changed: int = 500, **more: Any) -> str:
    return f"app,{name},{status},2,1,0,1,0,{downs},{changed},10,0,1,0,0,-1,{more.get('addr', '')},"


def backend(status: str = "UP", ok: int = 10, failed: int = 0) -> str:
    return f"app,BACKEND,{status},1,2,0,2,,0,500,{ok},{failed},1,0,0,3,,"


def values(collection: Collection) -> dict[tuple[str, ...], float | None]:
    return {(s.metric, *s.labels): s.value for s in collection.samples}


def rules(collection: Collection) -> list[tuple[str, str]]:
    return [(finding.rule, finding.key) for finding in collection.findings]


async def test_transitions_are_found_from_one_look_to_the_next() -> None:
    balancer = Balancer()
    lb = await opened(balancer)
    balancer.csv(server("a"), server("b"), backend())
    assert rules(await lb.collect(WINDOW)) == []
    balancer.csv(server("a"), server("b", "DOWN", 1, changed=4), backend())
    down = await lb.collect(WINDOW)
    assert rules(down) == [("server_down", "app/b")]
    assert down.findings[0].time_us == WINDOW.end_us - 4_000_000  # the balancer knows when
    assert rules(await lb.collect(WINDOW)) == []  # told once
    balancer.csv(server("a", "DOWN", 1), server("b", "DOWN", 1), backend("DOWN"))
    assert rules(await lb.collect(WINDOW)) == [("backend_down", "app"), ("server_down", "app/a")]
    balancer.csv(server("a", "UP", 1), server("b", "UP 1/3", 1), backend())
    again = await lb.collect(WINDOW)
    assert sorted(rules(again)) == [("backend_up", "app"), ("server_up", "app/a"), ("server_up", "app/b")]
    assert again.findings[0].time_us == 0  # 500 s ago is not in this window: when it was seen


async def test_a_server_that_was_down_in_between_is_found_by_the_balancers_count() -> None:
    balancer = Balancer()
    lb = await opened(balancer)
    balancer.csv(server("a", downs=3), backend())
    await lb.collect(WINDOW)
    balancer.csv(server("a", downs=5), backend())
    collection = await lb.collect(WINDOW)
    assert rules(collection) == [("server_flapped", "app/a")]
    assert "2 times" in collection.findings[0].summary


async def test_what_is_down_at_the_first_look_is_told() -> None:
    balancer = Balancer()
    lb = await opened(balancer)
    balancer.csv(server("a", "DOWN"), backend("DOWN"))
    assert rules(await lb.collect(WINDOW)) == [("backend_down", "app"), ("server_down", "app/a")]


async def test_a_restarted_balancer_counts_from_zero() -> None:
    balancer = Balancer(texts={"info": "Version: 2.6\nUptime_sec: 900\n"})
    lb = await opened(balancer)
    balancer.csv(server("a", downs=3), backend(ok=1000, failed=10))
    first = values(await lb.collect(WINDOW))
    assert first[f"{L}.backend.error_ratio", "app"] is None
    balancer.texts["info"] = "Version: 2.8\nUptime_sec: 5\n"
    balancer.csv(server("a", downs=0), backend(ok=3, failed=1))
    collection = await lb.collect(WINDOW)
    assert rules(collection) == [("balancer_restarted", "haproxy")]
    assert values(collection)[f"{L}.backend.error_ratio", "app"] == 0.25
    assert values(collection)[f"{L}.info", "haproxy", "2.8"] == 1


async def test_the_error_ratio_is_that_of_the_interval() -> None:
    balancer = Balancer()
    lb = await opened(balancer)
    balancer.csv(server("a"), backend(ok=100, failed=50))
    await lb.collect(WINDOW)
    balancer.csv(server("a"), backend(ok=109, failed=51))
    assert values(await lb.collect(WINDOW))[f"{L}.backend.error_ratio", "app"] == 0.1
    nothing = [s for s in (await lb.collect(WINDOW)).samples if s.metric.endswith("error_ratio")]
    assert nothing[0].value is None
    assert "no response" in nothing[0].reason


async def test_available_servers_are_counted_without_those_taken_out() -> None:
    balancer = Balancer()
    lb = await opened(balancer)
    balancer.csv(server("a"), server("b", "DOWN"), server("c", "MAINT"), server("d", "no check"), backend())
    got = values(await lb.collect(WINDOW))
    assert got[f"{L}.backend.available_ratio", "app"] == pytest.approx(2 / 3)
    assert got[f"{L}.backend.servers", "app", "maintenance"] == 1
    assert got["collectors.haproxy.backend.agg_server_status", "app", "UP"] == 2
    balancer.csv(server("c", "MAINT"), backend("DOWN"))
    assert values(await lb.collect(WINDOW))[f"{L}.backend.available_ratio", "app"] is None


async def test_less_than_zero_means_never_and_is_left_out() -> None:
    balancer = Balancer()
    lb = await opened(balancer)
    balancer.csv(server("a"), backend())
    got = values(await lb.collect(WINDOW))
    assert ("collectors.haproxy.server.last_session", "app", "a") not in got
    assert got["collectors.haproxy.backend.last_session", "app"] == 3


async def test_columns_of_a_newer_version_are_told_as_an_issue() -> None:
    balancer = Balancer()
    lb = await opened(balancer)
    balancer.csv(server("a"), backend())
    assert (await lb.collect(WINDOW)).issues == ()
    lines = balancer.texts["stat"].splitlines()
    balancer.texts["stat"] = "\n".join([lines[0] + "sparkle,", *(line + "7," for line in lines[1:])])
    upgraded = await lb.collect(WINDOW)
    assert [issue.code for issue in upgraded.issues] == ["unknown_field"]
    assert "sparkle" in upgraded.issues[0].message
    assert values(upgraded)[f"{L}.server.up", "app", "a"] == 1


@pytest.mark.parametrize("line", ["app,b,UP,2,1,0,one,0,0,5,0,0,0,0,0,0,,", "app,b,UP,9,,,,,,,,,,,,,,", "app,b,UP"])
async def test_a_line_that_cannot_be_read_is_an_issue_and_the_others_are_told(line: str) -> None:
    balancer = Balancer()
    lb = await opened(balancer)
    balancer.csv(server("a"), line, backend())
    collection = await lb.collect(WINDOW)
    assert [issue.code for issue in collection.issues] == ["malformed"]
    assert values(collection)[f"{L}.server.up", "app", "a"] == 1


@pytest.mark.parametrize("text", ["", "<html>", HEADER, "# HELP", "haproxy_up 1"])
def test_what_is_not_haproxys_is_unavailable(text: str) -> None:
    for part in ("stat", "page"):
        with pytest.raises(SourceUnavailable):
            haproxy.read({part: text})


def test_what_a_prometheus_page_tells_beyond_is_an_issue_too() -> None:
    reading = haproxy.read(
        {
            "page": "# HELP x\n"
            'haproxy_server_status{proxy="app",server="a",state="UP"} 1\n'
            'haproxy_server_status{proxy="app",server="a",state="DOWN"} 0\n'
            'haproxy_server_check_duration_seconds{proxy="app",server="a"} 0.003\n'
            'haproxy_server_weight{proxy="app",server="a"} heavy\n'
            'haproxy_server_qtime{proxy="app",server="a"} NaN\n'
            'haproxy_server_sparkle{proxy="app",server="a"} 1\n'
            "haproxy_process_wonders 3\nhaproxy_moon_phase 1\nhaproxy_broken\nelsewhere_up 1\n"
            'haproxy_process_build_info{version=""} 1\n'
            'haproxy_resolver_sent{resolver="dns",nameserver="one"} 4\n'
            'haproxy_resolver_send_error{resolver="dns",nameserver="one"} 2\n'
        }
    )
    got = {(s.metric, *s.labels): s.value for s in reading.samples}
    assert got["collectors.haproxy.server.status", "app", "a", "UP"] == 1
    assert got["collectors.haproxy.server.check_duration", "app", "a"] == pytest.approx(0.003)
    assert got["collectors.haproxy.resolver.snd_error", "dns", "one"] == 2
    assert {issue.code: issue.message for issue in reading.issues} == {
        "malformed": "2 lines of the statistics can't be read",
        "unknown_field": "HAProxy tells 3 facts that are not known here: moon_phase, process_wonders, server_sparkle",
    }


def test_facts_of_the_process_that_are_no_numbers_are_issues() -> None:
    text = "\n".join((HEADER, server("a"), backend(), ""))
    info = "Maxconn: many\nTainted: 0x10\nUptime_sec: soon\n"
    reading = haproxy.read(
        {"stat": text, "info": info, "resolvers": "Resolvers section d\n nameserver n:\n  sent: x\n"}
    )
    assert [issue.item for issue in reading.issues] == ["Maxconn", "Uptime_sec", "sent"]
    assert {s.metric: s.value for s in reading.samples}["collectors.haproxy.process.tainted"] == 16
    assert reading.uptime_s is None


async def test_a_backend_from_which_all_servers_were_taken_is_as_it_was_wanted() -> None:
    balancer = Balancer()
    lb = await opened(balancer)
    balancer.csv(server("a", "MAINT"), backend("DOWN"))
    collection = await lb.collect(WINDOW)
    assert rules(collection) == []
    assert values(collection)[f"{L}.backend.up", "app"] == 1


async def test_only_backends_or_only_servers_may_be_too_many() -> None:
    balancer = Balancer()
    balancer.csv(server("a"), server("b"), backend(), "void,BACKEND,UP,1,0,0,0,,0,500,1,0,0,0,0,1,,")
    for settings, item in (({"max_servers": 1}, "servers"), ({"max_backends": 1}, "backends")):
        lb = await opened(balancer, **settings)
        assert [issue.item for issue in (await lb.collect(WINDOW)).issues] == [item]


def test_parts_that_are_refused_are_issues() -> None:
    text = "\n".join((HEADER, server("a"), backend(), ""))
    reading = haproxy.read({"stat": text, "info": SourceRefused("no"), "tables": "# table: web", "resolvers": "x: 1\n"})
    assert sorted((issue.code, issue.item) for issue in reading.issues) == [
        ("malformed", "tables"),
        ("source_refused", "info"),
    ]


async def test_own_checks_rise_and_fall_and_disagree() -> None:
    balancer, targets = Balancer(), Targets("tcp://10.0.0.1:80")
    lb = await opened(balancer, targets, check_servers="tcp", check_rise=2, check_fall=2)
    balancer.csv(server("a", addr="10.0.0.1:80"), server("b", addr=""), backend())
    first = await lb.collect(WINDOW)
    assert values(first)[f"{L}.check.up", "app/a"] == 1
    targets.well.clear()
    assert rules(await lb.collect(WINDOW)) == []  # one failure is not two
    failed = await lb.collect(WINDOW)
    assert rules(failed) == [("check_failed", "app/a"), ("balancer_disagrees", "app/a")]
    assert values(failed)[f"{L}.check.disagreements",] == 1
    assert values(failed)[f"{L}.check.consecutive_failures", "app/a"] == 2
    targets.well.add("tcp://10.0.0.1:80")
    await lb.collect(WINDOW)
    assert rules(await lb.collect(WINDOW)) == [("check_recovered", "app/a")]


@given(st.lists(st.booleans(), max_size=40), st.integers(1, 4), st.integers(1, 4))
def test_health_turns_exactly_after_results_in_a_row(results: list[bool], rise: int, fall: int) -> None:
    health, expected, run = Health(up=True), True, 0
    for passed in results:
        health = health.after(passed, rise, fall)
        run = 0 if passed is expected else run + 1
        if run == (fall if expected else rise):
            expected, run = not expected, 0
        assert health.up is expected


async def test_a_large_balancer_is_bounded_and_trouble_comes_first() -> None:
    balancer = Balancer()
    lb = await opened(balancer, max_backends=3, max_servers=4, max_checks=2, check_servers="tcp")
    lines = []
    for n in range(10):
        status = "DOWN" if n == 7 else "UP"
        lines += [f"app{n},{one},{status},2,1,0,1,0,0,500,1,0,0,0,0,1,10.0.0.{n}:80," for one in ("a", "b")]
        lines.append(f"app{n},BACKEND,{status},1,2,0,2,,0,500,1,0,0,0,0,1,,")
    balancer.csv(*lines)
    collection = await lb.collect(WINDOW)
    got = values(collection)
    assert sorted(k[1] for k in got if k[0] == f"{L}.backend.up") == ["app0", "app1", "app7"]
    assert sum(k[0] == f"{L}.server.up" for k in got) == 4
    assert got[f"{L}.servers_down",] == 2  # of all
    assert got[f"{L}.backend.servers", "app7", "down"] == 2
    assert sum(k[0] == "collectors.haproxy.server.weight" for k in got) == 4
    assert sum(k[0] == f"{L}.check.up" for k in got) == 2
    assert sorted(issue.item for issue in collection.issues) == ["backends", "checks", "servers"]


async def test_five_hundred_backends_are_worked_on_beside_the_event_loop() -> None:
    balancer = Balancer()
    lb = await opened(balancer)
    pad = "x" * 600
    rows = []
    for n in range(500):
        rows.append(f"app{n},{pad}{n},UP,2,1,0,1,0,0,500,1,0,0,0,0,1,,")
        rows.append(f"app{n},BACKEND,UP,1,2,0,2,,0,500,1,0,0,0,0,1,,")
    balancer.csv(*rows)
    collection = await lb.collect(WINDOW)
    assert sum(s.metric == f"{L}.server.up" for s in collection.samples) == 500
    assert collection.issues == ()


def test_an_avalanche_of_findings_is_cut() -> None:
    servers = tuple(Server("app", str(n), ServerState.DOWN, Traffic()) for n in range(500))
    now = Reading("haproxy", servers=servers, backends=(Backend("app", False, Traffic()),))
    found = findings(now, None, WINDOW)
    assert len(found) == MAX_FINDINGS + 1
    assert found[0].rule == "backend_down"
    assert found[-1].summary == "401 more servers or backends changed"


def test_ejections_between_two_looks_are_found() -> None:
    before = Reading("envoy", backends=(Backend("app", True, Traffic(), downs=1),))
    now = replace(before, backends=(replace(before.backends[0], downs=2),))
    assert [f.rule for f in findings(now, before, WINDOW)] == ["servers_ejected"]


async def test_the_next_run_compares_with_the_last_good_one() -> None:
    balancer = Balancer()
    lb = await opened(balancer)
    balancer.csv(server("a"), backend())
    await lb.collect(WINDOW)
    balancer.error = SourceUnavailable("gone")
    with pytest.raises(SourceUnavailable):
        await lb.collect(WINDOW)
    balancer.error = None
    balancer.csv(server("a", "DOWN", 1), backend("DOWN"))
    assert ("server_down", "app/a") in rules(await lb.collect(WINDOW))


async def test_it_must_be_open_and_closes_once() -> None:
    balancer = Balancer()
    lb = await opened(balancer)
    await lb.close()
    await lb.close()
    assert balancer.closed == 1
    with pytest.raises(LifecycleError):
        await lb.collect(WINDOW)


@pytest.mark.parametrize(
    "settings",
    [
        {"address": "http://user:pw@host/stats"},
        {"address": "ftp://host"},
        {"address": "http://host:70000/"},
        {"address": "tcp://host:1", "product": "envoy"},
        {"checks": [{"name": "a", "url": "tcp://h:1"}, {"name": "a", "url": "tcp://h:2"}]},
        {"checks": [{"name": "a", "url": "http://user:pw@h/"}]},
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        LoadBalancerConfig(**settings)
