"""Server-Sent Events: however they are cut into chunks, and streams that break off."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from cli_server import Answer, Request, refusal, serving
from hypothesis import given
from hypothesis import strategies as st
from test_cli_sending import QuickClock

from collectors.cli.connect import Target
from collectors.cli.live import Listener, parse_events
from collectors.errors import SourceUnavailable, Unauthenticated

DATA = st.recursive(
    st.none() | st.integers() | st.text(), lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(), x, max_size=3)
)
FRAMES = st.lists(st.tuples(st.sampled_from(["samples", "alert", "ledger"]), DATA), max_size=8)


def _frame(event: str, data: Any, end: str = "\n") -> bytes:
    return f"id: 7{end}event: {event}{end}data: {json.dumps(data, ensure_ascii=False)}{end}{end}".encode()


async def _parsed(chunks: list[bytes]) -> list[tuple[str, Any]]:
    async def source() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    return [frame async for frame in parse_events(source())]


@given(FRAMES, st.sampled_from(["\n", "\r\n"]), st.lists(st.integers(0, 400), max_size=12))
def test_frames_come_out_however_they_are_cut(frames: list[tuple[str, Any]], end: str, cuts: list[int]) -> None:
    wire = b": open\n\n" + b"".join(_frame(event, data, end) + b": beat\n\n" for event, data in frames)
    places = [0, *sorted(min(c, len(wire)) for c in cuts), len(wire)]
    chunks = [wire[a:b] for a, b in itertools.pairwise(places)]
    assert asyncio.run(_parsed(chunks)) == frames


def test_line_separators_inside_a_text_do_not_end_a_line() -> None:
    assert asyncio.run(_parsed([_frame("alert", "a\u2028b\u0085c")])) == [("alert", "a\u2028b\u0085c")]


def test_frames_without_a_name_are_messages_and_ones_without_data_are_none() -> None:
    wire = b'data:{"a":\ndata: 1}\n\nevent: x\n\n'
    assert asyncio.run(_parsed([wire])) == [("message", {"a": 1})]


def _listen(url: str, tenants: list[str], enough: int, clock: QuickClock | None = None) -> list[tuple[str, str, Any]]:
    taken: list[tuple[str, str, Any]] = []

    def take(tenant: str, event: str, data: Any) -> bool:
        taken.append((tenant, event, data))
        return len(taken) < enough

    asyncio.run(Listener(Target(url, "k"), clock=clock or QuickClock()).run(tenants, take))
    return taken


def test_streams_of_all_tenants_are_heard_until_it_is_enough() -> None:
    with serving(lambda r: Answer(body=_frame("alert", r.path.split("/")[3]))) as server:
        taken = _listen(server.url, ["a", "b"], 12)
    assert len(taken) == 12
    assert {tenant for tenant, _, _ in taken} == {"a", "b"}
    assert all(tenant == data and event == "alert" for tenant, event, data in taken)
    assert {r.path for r in server.requests} == {"/v1/tenants/a/stream", "/v1/tenants/b/stream"}


def test_streams_that_break_off_are_opened_again() -> None:
    answers = iter([Answer(breaks_off=True), Answer(body=_frame("x", 1)), refusal(503), Answer(body=_frame("x", 2))])
    clock = QuickClock()
    with serving(lambda _: next(answers)) as server:
        assert _listen(server.url, ["a"], 2, clock) == [("a", "x", 1), ("a", "x", 2)]
    assert clock.slept == [0.2, 0.2, 0.5]


def test_a_server_that_stays_away_is_told_in_the_end() -> None:
    with serving(lambda _: Answer()) as server:
        pass
    with pytest.raises(SourceUnavailable, match="Is the server running"):
        _listen(server.url, ["a"], 1)


def test_refusals_for_good_are_told_at_once() -> None:
    def respond(request: Request) -> Answer:
        return refusal(401, "not with this key")

    with serving(respond) as server, pytest.raises(Unauthenticated, match="not with this key"):
        _listen(server.url, ["a"], 1)
    assert len(server.requests) == 1


def test_without_tenants_there_is_nothing_to_hear() -> None:
    assert _listen("http://127.0.0.1:9", [], 1) == []
