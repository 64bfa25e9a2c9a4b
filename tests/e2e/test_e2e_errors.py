"""What the server refuses, and that it says so in one shape, without repeating what was sent."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx
import pytest
import zstandard

from tests.e2e.forms import arrow, playback
from tests.e2e.live_server import LiveServer, TenantHandle

SENT = "hush-hush-7f3a"
"""Stands in every body and header that is refused; no answer may hold it."""

_ARROW = "application/vnd.apache.arrow.stream"
_JSON = "application/json"


def the_problem(response: httpx.Response, status: int, code: str) -> dict[str, str]:
    """Insist on the documented shape of an error, and return it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"].startswith("application/json")
    assert SENT not in response.text
    body = response.json()
    assert set(body) == {"error"}
    error = body["error"]
    assert {"code", "message"} <= set(error) <= {"code", "message", "position"}
    assert error["code"] == code
    assert len(error["message"]) > 10
    if status in (429, 503):
        assert int(response.headers["retry-after"]) >= 1
    if status == 401:
        assert "bearer" in response.headers["www-authenticate"].lower()
    return dict(error)


@pytest.fixture(scope="module")
def tenant(server: LiveServer) -> TenantHandle:
    return server.tenant("errors")


def _keys(tenant: TenantHandle) -> dict[str, dict[str, str]]:
    other = tenant.server.tenant("other")
    return {
        "none": {},
        "empty": {"authorization": ""},
        "wrong": {"authorization": f"Bearer ck_0123456789ab_{SENT}"},
        "malformed": {"authorization": f"Bearer {SENT}"},
        "scheme": {"authorization": f"Digest {tenant.write_key}"},
        "basic": {"authorization": f"Basic {SENT}"},
        "long": {"authorization": "Bearer " + SENT * 200},
        "read": {"authorization": f"Bearer {tenant.read_key}"},
        "other": {"authorization": f"Bearer {other.write_key}"},
    }


@pytest.mark.parametrize("path", ["/v1/tenants/{}/events/playback", "/v1/tenants/{}/events", "/v1/batch"])
@pytest.mark.parametrize(
    ("key", "status", "code"),
    [
        ("none", 401, "unauthenticated"),
        ("empty", 401, "unauthenticated"),
        ("wrong", 401, "unauthenticated"),
        ("malformed", 401, "unauthenticated"),
        ("scheme", 401, "unauthenticated"),
        ("basic", 401, "unauthenticated"),
        ("long", 401, "unauthenticated"),
        ("read", 403, "forbidden"),
        ("other", 404, "unknown_name"),
    ],
)
def test_events_need_a_key_that_may_write(tenant: TenantHandle, path: str, key: str, status: int, code: str) -> None:
    if path == "/v1/batch" and key == "other":
        pytest.skip("the tenant of a Segment call is that of its key")
    body = json.dumps({"user_id": SENT, "batch": []})
    headers = {"content-type": _JSON, **_keys(tenant)[key]}
    response = tenant.server.client.post(path.format(tenant.id), content=body, headers=headers)
    the_problem(response, status, code)


@pytest.mark.parametrize(
    ("key", "status", "code"),
    [("none", 401, "unauthenticated"), ("wrong", 401, "unauthenticated"), ("other", 403, "forbidden")],
)
@pytest.mark.parametrize("path", ["ledger", "alerts", "latest", "dead-letters", "metrics", "collectors", "stream"])
def test_reading_needs_a_key_that_may_read(tenant: TenantHandle, path: str, key: str, status: int, code: str) -> None:
    headers = _keys(tenant)[key] if key != "other" else {"authorization": f"Bearer {tenant.write_key}"}
    the_problem(tenant.server.client.get(f"/v1/tenants/{tenant.id}/{path}", headers=headers), status, code)


@dataclass(frozen=True)
class Refused:
    """A request that must be refused, and how."""

    status: int
    code: str
    body: bytes
    media: str = "application/x-ndjson"
    type_: str = "playback"
    headers: dict[str, str] = field(default_factory=dict)
    position: bool = False


_LINE = json.dumps(playback(user_id=SENT)).encode()
_STREAM = arrow([playback(user_id=SENT)])[2]

REFUSED = {
    "unknown type": Refused(404, "unknown_name", _LINE, type_="no_such_type"),
    "unknown content type": Refused(400, "bad_input", _LINE, media="text/csv"),
    "unknown content type, mixed": Refused(400, "bad_input", _LINE, media="text/csv", type_=""),
    "unknown encoding": Refused(400, "bad_input", _LINE, headers={"content-encoding": "br"}),
    "long idempotency key": Refused(400, "bad_input", _LINE, headers={"idempotency-key": SENT * 40}),
    "no Arrow": Refused(400, "malformed_body", _LINE, media=_ARROW, position=True),
    "Arrow cut short": Refused(400, "malformed_body", _STREAM[: len(_STREAM) // 2], media=_ARROW, position=True),
    "JSON cut short": Refused(400, "malformed_body", b"[" + _LINE + b",", media=_JSON, position=True),
    "JSON of another kind": Refused(400, "malformed_body", json.dumps(SENT).encode(), media=_JSON),
    "gzip that is none": Refused(400, "malformed_body", _LINE, headers={"content-encoding": "gzip"}, position=True),
    "gzip cut short": Refused(
        400, "malformed_body", gzip.compress(_LINE)[:-9], headers={"content-encoding": "gzip"}, position=True
    ),
    "zstd that is none": Refused(400, "malformed_body", _LINE, headers={"content-encoding": "zstd"}, position=True),
    "CloudEvent that is none": Refused(400, "malformed_body", b"[]", media="application/cloudevents+json"),
    "CloudEvents in another format": Refused(400, "bad_input", _LINE, media="application/cloudevents+avro"),
    "too large": Refused(413, "too_large", b" " * (2**20 + 1)),
    "gzip bomb": Refused(413, "too_large", gzip.compress(bytes(2**26)), headers={"content-encoding": "gzip"}),
    "zstd bomb": Refused(413, "too_large", zstandard.compress(bytes(2**26)), headers={"content-encoding": "zstd"}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_whole(tenant: TenantHandle, name: str) -> None:
    case = REFUSED[name]
    before = tenant.ledger()
    error = the_problem(tenant.post(case.body, case.type_, case.media, **case.headers), case.status, case.code)
    assert bool(error.get("position")) or not case.position
    assert tenant.ledger() == before


def test_too_many_rows_are_refused(server: LiveServer) -> None:
    tenant = server.tenant()
    body = b"\n".join([b"{}"] * 100_001)
    the_problem(tenant.post(body), 413, "too_large")
    assert tenant.ledger()["offered"] == 0


def test_a_row_that_is_nested_too_deep_is_rejected_alone(server: LiveServer) -> None:
    tenant = server.tenant()
    deep = json.dumps(playback())[:-1] + ', "x": ' + "[" * 500 + "]" * 500 + "}"
    receipt = tenant.post(f"{json.dumps(playback())}\n{deep}").json()
    assert (receipt["accepted"], receipt["rejected"]) == (1, 1)
    assert tenant.post("[" * 100_000, media=_JSON).status_code in (400, 413)


def test_a_body_without_a_declared_length_is_cut_off_at_the_limit(tenant: TenantHandle) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(64):
            yield bytes(65_536)

    connection = http.client.HTTPConnection("127.0.0.1", tenant.server.port, timeout=30)
    with contextlib.closing(connection):
        # The server answers while we still send, and may then close.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request(
                "POST",
                f"{tenant.events}/playback",
                endless(),
                {"Authorization": f"Bearer {tenant.write_key}", "Content-Type": "application/x-ndjson"},
                encode_chunked=True,
            )
        response = connection.getresponse()
        assert response.status == 413
        assert json.loads(response.read())["error"]["code"] == "too_large"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", ["/v1/tenants/{}/events/playback", "/v1/tenants/{}/events", "/v1/track"])
def test_events_are_taken_by_post_alone(tenant: TenantHandle, method: str, path: str) -> None:
    headers = {"authorization": f"Bearer {tenant.write_key}"}
    response = tenant.server.client.request(method, path.format(tenant.id), headers=headers)
    the_problem(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "POST"


def test_other_methods_of_known_addresses_are_refused(tenant: TenantHandle) -> None:
    headers = {"authorization": f"Bearer {tenant.read_key}"}
    response = tenant.server.client.post(f"/v1/tenants/{tenant.id}/ledger", headers=headers)
    the_problem(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "GET"


def test_unknown_tenants_and_addresses_do_not_exist(tenant: TenantHandle) -> None:
    client = tenant.server.client
    headers = {"authorization": f"Bearer {tenant.server.admin_key}", "content-type": _JSON}
    the_problem(client.post(f"/v1/tenants/{SENT}/events/playback", content=b"{}", headers=headers), 404, "unknown_name")
    the_problem(client.get(f"/v1/tenants/{SENT}/ledger", headers=headers), 404, "unknown_name")
    the_problem(client.get(f"/v1/{SENT}", headers=headers), 404, "not_found")


def test_one_live_stream_too_many_is_told_when_to_come_back(server: LiveServer) -> None:
    tenant = server.tenant()
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
            stack.callback(connection.close)
            headers = {"Authorization": f"Bearer {tenant.read_key}"}
            connection.request("GET", f"/v1/tenants/{tenant.id}/stream", headers=headers)
            response = connection.getresponse()
            stack.callback(response.close)
            assert response.status == 200
        refused = server.client.get(f"/v1/tenants/{tenant.id}/stream", headers=headers)
        the_problem(refused, 429, "overloaded")
