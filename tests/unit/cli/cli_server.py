"""A real HTTP server on a free port whose answers a test writes down: it can refuse and break off."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass
class Answer:
    status: int = 200
    body: object = None
    headers: dict[str, str] = field(default_factory=dict)
    breaks_off: bool = False


Respond = Callable[[Request], Answer]


@dataclass
class Server:
    url: str
    requests: list[Request]


@contextmanager
def serving(respond: Respond) -> Iterator[Server]:
    requests: list[Request] = []
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._serve()

        def do_POST(self) -> None:
            self._serve()

        def _serve(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, parts.path, query, headers, body)
            with lock:
                requests.append(request)
                answer = respond(request)
            if answer.breaks_off:
                self.close_connection = True
                return
            payload = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield Server(f"http://127.0.0.1:{server.server_port}", requests)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def refusal(status: int, message: str = "no", **headers: str) -> Answer:
    return Answer(status, {"error": {"code": "x", "message": message}}, headers)


def receipt(rows: int, **counts: int) -> Answer:
    """The answer to an intake in which all events are accepted that ``counts`` does not say otherwise of."""
    others = {"duplicate": 0, "rejected": 0, "dropped": 0, **counts}
    body = {"accepted": rows - sum(others.values()), **others, "position": 1, "dead_letter": None, "reasons": []}
    return Answer(202, body)
