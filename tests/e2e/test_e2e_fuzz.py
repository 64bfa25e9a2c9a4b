"""Whatever is thrown at the server, it answers, says what is wrong with it, and keeps its books."""

from __future__ import annotations

import gzip
import json

import pytest
import schemathesis
import zstandard
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.e2e.conftest import StartServer
from tests.e2e.forms import FORMS, playback
from tests.e2e.live_server import LiveServer, TenantHandle, eventually

_VALID = [make([playback()]) for make in FORMS.values()]
_MEDIA = sorted({request[1] for request in _VALID} | {"", "text/plain", "application/cloudevents", 'a/b;c="d'})
_FIELDS = ["event_id", "event_time", "user_id", "track_id", "ms_played", "properties", "type", "skipped", "x"]

_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
_rows = st.lists(st.dictionaries(st.sampled_from(_FIELDS), _json, max_size=6), max_size=4)
_lines = _rows.map(lambda rows: "\n".join(map(json.dumps, rows)).encode())
_lists = _rows.map(lambda rows: json.dumps(rows).encode())


@st.composite
def _damaged(draw: st.DrawFn) -> bytes:
    """A valid body with some bytes changed, cut out or put in."""
    body = bytearray(draw(st.sampled_from([request[2] for request in _VALID])))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, max(0, len(body) - 1)))
        body[place : place + draw(st.integers(0, 4))] = draw(st.binary(max_size=4))
    return bytes(body)


_bodies = st.one_of(st.binary(max_size=200), _lines, _lists, _damaged())
_encodings = st.sampled_from(["", "", "", "gzip", "zstd", "identity", "br", "GZIP"])
_names = st.sampled_from(["ce-specversion", "ce-id", "ce-type", "ce-time", "idempotency-key", "x-other"])
_values = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20).map(str.strip)


@pytest.fixture(scope="module")
def fuzzed(server: LiveServer) -> TenantHandle:
    return server.tenant("fuzzed")


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    body=_bodies,
    packed=st.booleans(),
    encoding=_encodings,
    media=st.sampled_from(_MEDIA),
    type_=st.sampled_from(["playback", "playback", "", "app_event", "auth", "job_run", "nonsense", "%00", "ä"]),
    headers=st.dictionaries(_names, _values, max_size=3),
)
def test_no_request_for_events_breaks_the_server(
    fuzzed: TenantHandle, body: bytes, packed: bool, encoding: str, media: str, type_: str, headers: dict[str, str]
) -> None:
    if packed and encoding in ("gzip", "zstd"):
        body = gzip.compress(body) if encoding == "gzip" else zstandard.compress(body)
    before = fuzzed.ledger()
    response = fuzzed.post(body, type_, media, **{"content-encoding": encoding}, **headers)
    assert response.status_code in (202, 400, 404, 413), response.text
    answer = response.json()
    after = fuzzed.ledger()
    assert after["balance"] == 0
    if response.status_code == 202:
        taken = {k: answer[k] for k in ("accepted", "duplicate", "rejected", "dropped")}
        assert after["offered"] - before["offered"] == sum(taken.values())
        assert after["rejected"] - before["rejected"] == taken["rejected"]
    else:
        assert set(answer) == {"error"}
        assert after["offered"] == before["offered"]


_calls = st.dictionaries(
    st.sampled_from(
        ["userId", "anonymousId", "event", "properties", "context", "timestamp", "sentAt", "type", "batch"]
    ),
    _json | st.lists(st.dictionaries(st.sampled_from(["userId", "type", "event"]), _json), max_size=3),
    max_size=6,
)


@settings(max_examples=50, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(path=st.sampled_from(["track", "page", "screen", "identify", "group", "alias", "batch"]), call=_calls)
def test_no_segment_call_breaks_the_server(fuzzed: TenantHandle, path: str, call: dict[str, object]) -> None:
    headers = {"authorization": f"Bearer {fuzzed.write_key}"}
    response = fuzzed.server.client.post(f"/v1/{path}", content=json.dumps(call).encode(), headers=headers)
    assert response.status_code in (200, 400, 413), response.text
    assert fuzzed.ledger()["balance"] == 0


def test_after_all_that_the_books_are_balanced_and_both_processes_run(fuzzed: TenantHandle) -> None:
    totals = fuzzed.settled()
    assert totals["offered"] > 0
    stored = sum(len(fuzzed.lake(name)) for name in fuzzed.get("ledger")["types"])
    assert stored == totals.get("stored", 0)
    assert fuzzed.server.gateway.is_alive()
    assert fuzzed.server.worker.is_alive()
    assert fuzzed.send(playback())["accepted"] == 1


def test_no_request_of_the_described_api_breaks_the_server(start_server: StartServer) -> None:
    server = start_server()
    tenant = server.tenant()
    tenant.send(playback(), playback(ms_played=-1))
    eventually(lambda: tenant.get("dead-letters"))
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    headers = {"Authorization": f"Bearer {server.admin_key}"}
    called = set()
    for found in schema.get_all_operations():
        operation = found.ok()
        if not operation.path.endswith("/stream"):  # which does not end
            _exercise(operation, tenant, headers)
            called.add((operation.method, operation.path))
    assert len(called) > 18, called
    assert server.gateway.is_alive()
    assert server.worker.is_alive()
    assert tenant.ledger()["balance"] == 0


def _exercise(operation: schemathesis.schemas.APIOperation, tenant: TenantHandle, headers: dict[str, str]) -> None:
    """Call an operation with what its description allows, on a tenant that exists and on others."""

    @settings(
        max_examples=6,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(), own=st.booleans())
    def check(case: schemathesis.Case, own: bool) -> None:
        if own and "tenant" in case.path_parameters:
            case.path_parameters["tenant"] = tenant.id
        response = case.call(base_url=tenant.server.url, headers=headers, timeout=30)
        assert response.status_code < 500 or case.path == "/health/ready", (case.method, case.path, response.text)

    check()
