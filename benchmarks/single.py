"""P6: one JSON event a request over 64 connections, beside the same server answering 202 and doing nothing."""

from __future__ import annotations

import json
import selectors
import socket
import subprocess
import sys
import time
import uuid

import numpy as np

from benchmarks.server import free_port, running

CONNECTIONS = 64
_ANSWER = json.dumps(
    {"accepted": 1, "duplicate": 0, "rejected": 0, "dropped": 0, "position": 1, "dead_letter": None, "reasons": []}
)
_NOTHING = f"""
import uvicorn

async def app(scope, receive, send):
    while (await receive()).get("more_body"):
        pass
    body = {_ANSWER.encode()!r}
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({{"type": "http.response.start", "status": 202, "headers": headers}})
    await send({{"type": "http.response.body", "body": body}})

import sys
uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", lifespan="off", access_log=False)
"""


def measure(seconds: float, overrides: dict[str, object]) -> dict[str, object]:
    connections = int(str(overrides.get("connections", CONNECTIONS)))
    with running() as server:
        tenant, key = next(iter(server.keys.items()))
        result = _drive(server.port, f"/v1/tenants/{tenant}/events/playback", key, connections, seconds)
        server.wait_loaded()
        ledger = server.ledger()
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", _NOTHING, str(port)])
    try:
        _until_open(port)
        floor = _drive(port, "/v1/tenants/x/events/playback", key, connections, seconds)
    finally:
        process.terminate()
        process.wait()
    return {
        "connections": connections,
        **result,
        "ledger": ledger,
        "ledger_ok": ledger["balance"] == 0 and ledger["stored"] == result["requests"],
        "floor": {"what": "the same server answering 202 to the same body and doing nothing", **floor},
        "ratio": result["requests_per_second"] / floor["requests_per_second"],
    }


def _drive(port: int, path: str, key: str, connections: int, seconds: float) -> dict[str, float]:
    """Keep every connection busy with one request after the other, from one thread."""
    template = {
        "event_id": "0" * 36,
        "track_id": "t-1001",
        "artist_id": "a-77",
        "user_id": "u-4242",
        "ms_played": 183000,
        "track_ms": 201000,
        "country": "SE",
        "device": "phone",
        "platform": "ios",
    }
    body = json.dumps(template).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    before, after = (head + body).split(b"0" * 36)
    waiting: dict[socket.socket, float] = {}
    partial: dict[socket.socket, bytes] = {}
    waits: list[float] = []
    with selectors.EpollSelector() as selector:
        for _ in range(connections):
            s = socket.create_connection(("127.0.0.1", port))
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(s, selectors.EVENT_READ)
            waiting[s] = time.perf_counter()
            s.sendall(before + str(uuid.uuid4()).encode() + after)
        began = time.perf_counter()
        end = began + seconds
        while waiting:
            for ready, _ in selector.select():
                s = ready.fileobj
                assert isinstance(s, socket.socket)
                answer = partial.pop(s, b"") + s.recv(65536)
                now = time.perf_counter()
                if not answer.startswith(b"HTTP/1.1 202"):
                    raise SystemExit(answer[:300])
                head, _, payload = answer.partition(b"\r\n\r\n")
                if not payload or len(payload) < int(head.lower().partition(b"content-length: ")[2].split()[0]):
                    partial[s] = answer
                    continue
                waits.append(now - waiting[s])
                if now < end:
                    waiting[s] = now
                    s.sendall(before + str(uuid.uuid4()).encode() + after)
                else:
                    del waiting[s]
                    selector.unregister(s)
                    s.close()
        elapsed = time.perf_counter() - began
    p50, p95, p99 = np.quantile(np.array(waits) * 1e3, [0.5, 0.95, 0.99])
    return {
        "requests": len(waits),
        "requests_per_second": len(waits) / elapsed,
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
        "max_ms": max(waits) * 1e3,
    }


def _until_open(port: int) -> None:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError("the empty server did not start")
