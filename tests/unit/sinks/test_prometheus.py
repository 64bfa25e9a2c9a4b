from __future__ import annotations

import asyncio
import socket

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from tests.support.sinks import COUNTER, START_US, inline, sample

from collectors.config import sinks as config
from collectors.contract.sink import SinkBatch, SinkContext
from collectors.errors import ConfigError, LifecycleError, RetryableError
from collectors.sinks import prometheus
from collectors.sinks.prometheus import PrometheusSink
from collectors.testing import ManualClock, settle


def made(clock: ManualClock | None = None, **given) -> PrometheusSink:
    settings = config.PrometheusSink(**{"port": 0} | given)
    return PrometheusSink(settings, SinkContext(clock or ManualClock(START_US), {}, inline))


async def ask(sink: PrometheusSink, request: str) -> tuple[str, str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", sink.port)
    writer.write(request.encode())
    answer = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition("\r\n\r\n")
    return head, body


async def test_the_last_values_are_served_in_both_formats() -> None:
    sink = made()
    await sink.open()
    batch = SinkBatch(
        "a", (sample(2), sample(1, value=0.1), sample(3, spec=COUNTER, value=7), sample(1, tenant="zeta"))
    )
    assert (await sink.write(batch)).delivered == 4
    head, body = await ask(sink, "GET /metrics?x=1 HTTP/1.1\r\naccept: application/openmetrics-text\r\n\r\n")
    assert "openmetrics-text" in head
    found = {
        s.name: s.value for f in text_string_to_metric_families(body) for s in f.samples if s.labels["tenant"] == "acme"
    }
    assert found == {"zoo_level_ratio": 0.5, "zoo_water_bytes_total": 7.0}
    head, body = await ask(sink, "GET /metrics HTTP/1.0\r\n\r\n")
    assert "text/plain" in head
    assert 'zoo_level_ratio{tenant="zeta",tank="north"} 0.5' in body
    head, empty = await ask(sink, "HEAD /metrics HTTP/1.0\r\n\r\n")
    assert f"Content-Length: {len(body)}" in head
    assert empty == ""
    assert (await ask(sink, "GET / HTTP/1.1\r\n\r\n"))[0].startswith("HTTP/1.1 404")
    assert (await ask(sink, "POST /metrics HTTP/1.1\r\n\r\n"))[0].startswith("HTTP/1.1 405")
    await sink.close()
    await sink.close()
    assert sink.port == 0
    with pytest.raises(LifecycleError):
        await sink.write(batch)


async def test_series_beyond_the_limit_are_refused_until_others_are_stale() -> None:
    clock = ManualClock(START_US)
    sink = made(clock, max_series=2)
    await sink.open()
    receipt = await sink.write(SinkBatch("a", tuple(sample(1, tank=str(n)) for n in range(3))))
    assert (receipt.delivered, receipt.refused, receipt.reason) == (2, 1, "there are more series than max_series")
    assert (await sink.write(SinkBatch("b", (sample(2, tank="0"),)))).refused == 0
    clock.jump(301)
    assert (await sink.write(SinkBatch("c", (sample(301_000, tank="new"),)))).refused == 0
    await sink.close()


async def test_a_port_that_is_taken_is_told_with_its_fix() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigError, match="set another port"):
            await made(port=taken.getsockname()[1]).open()
    with pytest.raises(RetryableError, match="can't be opened"):
        await made(host="192.0.2.1").open()


async def test_clients_that_talk_nonsense_say_nothing_or_are_too_many_are_hung_up_on(monkeypatch) -> None:
    monkeypatch.setattr(prometheus, "_REQUEST_SECONDS", 0.05)
    monkeypatch.setattr(prometheus, "_MAX_CLIENTS", 1)
    sink = made()
    await sink.open()

    async def end(content: bytes, *, finish: bool = False) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", sink.port)
        writer.write(content)
        if finish:
            writer.write_eof()
        try:
            return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.close()

    assert await end(b"x" * 100_000) == b""
    assert await end(b"GET", finish=True) == b""
    assert await end(b"GET") == b""
    first, second = await asyncio.gather(end(b"GET"), end(b"GET"))
    assert first == second == b""
    waiting = asyncio.create_task(end(b"GET"))
    await settle()
    await sink.close()
    await waiting
