"""Samples and spans at the real things: Prometheus scrapes and takes remote writes, an OTLP receiver takes both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from collectors.clock import SystemClock
from collectors.config import sinks as config
from collectors.contract.sink import BaseSink, ExportedSample
from collectors.drivers.sink_spool import SinkSpool
from collectors.model.metric import Kind, MetricSpec, Unit
from collectors.runtime.fanout import FanOut
from collectors.sinks.otlp import OtlpSink
from collectors.sinks.prometheus import PrometheusSink
from collectors.sinks.prometheus_remote_write import PrometheusRemoteWriteSink
from tests.support.servers import prometheus as prom
from tests.support.servers import rotel as otlp
from tests.support.servers.prometheus import free_port, until
from tests.support.sinks import span

CLOCK = SystemClock()
PLAYS = MetricSpec("business.plays", Kind.COUNTER, Unit.EVENTS, "Plays so far.", ("country",))
LAG = MetricSpec("queue.lag", Kind.GAUGE, Unit.HOURS, "How far it is behind.", (), nullable=True)


def readings(plays: float, lag: float | None) -> tuple[ExportedSample, ...]:
    now = CLOCK.now_us()
    reason = "" if lag is not None else "nothing waits"
    return (
        ExportedSample("acme", PLAYS, (("country", 'S"E\\\n'),), now, plays),
        ExportedSample("zeta", PLAYS, (("country", "DE"),), now, 3.0),
        ExportedSample("acme", LAG, (), now, lag, reason),
    )


@pytest.fixture
async def fanout(tmp_path: Path) -> AsyncIterator[FanOut]:
    made = FanOut(lambda name, given: SinkSpool(tmp_path / f"{name}.db", given.disk_bytes), CLOCK)
    yield made
    await made.stop(seconds=1)


async def delivered(fanout: FanOut, name: str, count: int) -> bool:
    def look() -> bool:
        return next(s for s in fanout.statuses() if s.name == name).delivered >= count

    for _ in range(150):
        if look():
            return True
        await CLOCK.sleep(0.1)
    return False


@pytest.mark.skipif(prom.BINARY is None, reason=prom.MISSING)
async def test_prometheus_scrapes_what_a_sink_serves_and_takes_what_another_pushes(
    fanout: FanOut, tmp_path: Path
) -> None:
    port = free_port()
    pull = PrometheusSink(config.PrometheusSink(port=port, linger_seconds=0))
    with prom.prometheus(tmp_path, scrape=port) as server:
        push = PrometheusRemoteWriteSink(
            config.RemoteWriteSink(url=f"{server.url}/api/v1/write", linger_seconds=0, tenants=("zeta",))
        )
        fanout.start({"pull": pull, "push": push})
        fanout.offer(readings(40.0, 0.5))
        assert await delivered(fanout, "push", 1)
        assert await delivered(fanout, "pull", 3)
        scraped = await asyncio.to_thread(until, lambda: server.query('business_plays_total{job="collectors"}'))
        assert {(r["metric"]["tenant"], r["metric"]["country"], float(r["value"][1])) for r in scraped} == {
            ("acme", 'S"E\\\n', 40.0),
            ("zeta", "DE", 3.0),
        }
        lag = server.query("queue_lag_seconds")
        assert [(r["metric"]["tenant"], float(r["value"][1])) for r in lag] == [("acme", 1800.0)]
        pushed = await asyncio.to_thread(until, lambda: server.query('business_plays_total{job=""}'))
        assert [(r["metric"], float(r["value"][1])) for r in pushed] == [
            ({"__name__": "business_plays_total", "country": "DE", "tenant": "zeta"}, 3.0)
        ]
        about = await asyncio.to_thread(until, lambda: server.metadata().get("business_plays"))
        assert (about[0]["type"], about[0]["help"]) == ("counter", "Plays so far.")


@pytest.mark.skipif(prom.BINARY is None, reason=prom.MISSING)
async def test_an_undefined_value_ends_a_pushed_series_and_a_repeated_batch_changes_nothing(
    fanout: FanOut, tmp_path: Path
) -> None:
    with prom.prometheus(tmp_path) as server:
        given = config.RemoteWriteSink(url=f"{server.url}/api/v1/write", linger_seconds=0, metrics=("queue.*",))
        sink = PrometheusRemoteWriteSink(given)
        fanout.start({"push": sink})
        first = readings(1.0, 0.5)
        fanout.offer(first)
        assert await delivered(fanout, "push", 1)
        assert await asyncio.to_thread(until, lambda: server.query("queue_lag_seconds"))
        fanout.offer(first)
        assert await delivered(fanout, "push", 2)
        assert [float(r["value"][1]) for r in server.query("count_over_time(queue_lag_seconds[1m])")] == [1.0]
        fanout.offer(readings(1.0, None))
        assert await delivered(fanout, "push", 3)
        assert await asyncio.to_thread(until, lambda: not server.query("queue_lag_seconds"))


@pytest.mark.skipif(prom.BINARY is None, reason=prom.MISSING)
async def test_a_target_that_comes_back_gets_what_it_missed(fanout: FanOut, tmp_path: Path) -> None:
    port = free_port()
    given = config.RemoteWriteSink(url=f"http://127.0.0.1:{port}/api/v1/write", linger_seconds=0, breaker_failures=50)
    sinks: dict[str, BaseSink] = {"push": PrometheusRemoteWriteSink(given)}
    fanout.start(sinks)
    for n in range(3):
        fanout.offer(readings(float(n), 1.0))
        await CLOCK.sleep(0.05)
    (status,) = fanout.statuses()
    assert (status.delivered, status.balance) == (0, 0)
    with prom.prometheus(tmp_path, port=port) as server:
        assert await delivered(fanout, "push", 9)
        counted = server.query('count_over_time(business_plays_total{tenant="acme"}[1m])')
        assert [float(r["value"][1]) for r in counted] == [3.0]


@pytest.mark.skipif(otlp.binary() is None, reason=otlp.MISSING)
async def test_an_otlp_receiver_gets_metrics_and_traces(fanout: FanOut, tmp_path: Path) -> None:
    with otlp.rotel(tmp_path) as receiver:
        fanout.start({"otlp": OtlpSink(config.OtlpSink(url=receiver.url, linger_seconds=0))})
        fanout.offer(readings(42.5, None))
        fanout.offer_spans((span(0xABC, error="the disk was full"),))
        assert await delivered(fanout, "otlp", 4)
        printed = await asyncio.to_thread(
            until,
            lambda: receiver.printed if "business.plays" in receiver.printed and "load" in receiver.printed else "",
        )
        for expected in ("business.plays", "{event}", "42.5", "tenant.id", "zeta", "the disk was full", "abc"):
            assert expected in printed, expected
