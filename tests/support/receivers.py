"""Receivers of alerts that really listen: HTTP with the checks Slack and PagerDuty make, and SMTP with TLS."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import jsonschema_rs

Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Received:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class HttpReceiver:
    """Listens, remembers requests, and answers as ``judge`` says; ``script`` holds answers that come first."""

    judge: Callable[[Received], Answer]
    script: list[Answer] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    url: str = ""


@contextmanager
def http_receiver(judge: Callable[[Received], Answer] = lambda _: (200, {}, b"ok")) -> Iterator[HttpReceiver]:
    """Run a real HTTP server on a free port."""
    receiver = HttpReceiver(judge)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            request = Received(self.path, {k.lower(): v for k, v in self.headers.items()}, body)
            receiver.received.append(request)
            status, headers, answer = receiver.script.pop(0) if receiver.script else receiver.judge(request)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(answer))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    receiver.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _text(kind: str, longest: int) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["type", "text"],
        "properties": {
            "type": {"const": kind},
            "text": {"type": "string", "minLength": 1, "maxLength": longest},
            "emoji": {"type": "boolean"},
        },
        "additionalProperties": False,
    }


SLACK = jsonschema_rs.validator_for(
    {
        "type": "object",
        "required": ["text", "blocks"],
        "properties": {
            "text": {"type": "string", "maxLength": 40_000},
            "blocks": {
                "type": "array",
                "minItems": 1,
                "maxItems": 50,
                "items": {
                    "oneOf": [
                        {
                            "required": ["type", "text"],
                            "properties": {"type": {"const": "header"}, "text": _text("plain_text", 150)},
                            "additionalProperties": False,
                        },
                        {
                            "required": ["type", "text"],
                            "properties": {"type": {"const": "section"}, "text": _text("mrkdwn", 3000)},
                            "additionalProperties": False,
                        },
                        {
                            "required": ["type", "elements"],
                            "properties": {
                                "type": {"const": "context"},
                                "elements": {"type": "array", "maxItems": 10, "items": _text("mrkdwn", 3000)},
                            },
                            "additionalProperties": False,
                        },
                    ]
                },
            },
        },
        "additionalProperties": False,
    }
)
"""What Slack's reference says of incoming webhooks and of the blocks used here."""

PAGERDUTY = jsonschema_rs.validator_for(
    {
        "type": "object",
        "required": ["routing_key", "event_action"],
        "properties": {
            "routing_key": {"type": "string", "minLength": 32, "maxLength": 32},
            "event_action": {"enum": ["trigger", "acknowledge", "resolve"]},
            "dedup_key": {"type": "string", "maxLength": 255},
            "client": {"type": "string"},
            "client_url": {"type": "string"},
            "links": {"type": "array"},
            "images": {"type": "array"},
            "payload": {
                "type": "object",
                "required": ["summary", "source", "severity"],
                "properties": {
                    "summary": {"type": "string", "minLength": 1, "maxLength": 1024},
                    "source": {"type": "string", "minLength": 1},
                    "severity": {"enum": ["critical", "error", "warning", "info"]},
                    "timestamp": {"type": "string", "format": "date-time"},
                    "component": {"type": "string"},
                    "group": {"type": "string"},
                    "class": {"type": "string"},
                    "custom_details": {"type": "object"},
                },
                "additionalProperties": False,
            },
        },
        "additionalProperties": False,
        "if": {"properties": {"event_action": {"const": "trigger"}}},
        "then": {"required": ["payload"]},
        "else": {"required": ["dedup_key"]},
    },
    validate_formats=True,
)
"""What PagerDuty's reference says of events for its Events API v2."""


def judge_slack(request: Received) -> Answer:
    """Answer as hooks.slack.com does."""
    return (200, {}, b"ok") if SLACK.is_valid(request.json) else (400, {}, b"invalid_blocks")


@dataclass
class PagerDuty:
    """Keeps incidents as PagerDuty does: by dedup key, from trigger to resolve."""

    incidents: dict[str, str] = field(default_factory=dict)

    def judge(self, request: Received) -> Answer:
        event = request.json
        problems = [e.message for e in PAGERDUTY.iter_errors(event)]
        if problems:
            return 400, {}, json.dumps({"status": "invalid event", "errors": problems}).encode()
        key, action = event["dedup_key"], event["event_action"]
        if action == "trigger":
            self.incidents.setdefault(key, "triggered")
        elif key in self.incidents:
            self.incidents[key] = {"acknowledge": "acknowledged", "resolve": "resolved"}[action]
        return 202, {}, json.dumps({"status": "success", "message": "Event processed", "dedup_key": key}).encode()


@dataclass
class Mailbox:
    """What an SMTP server took. ``answers`` replaces the answer to a command, such as ``{"RCPT": "550 no"}``."""

    port: int
    answers: dict[str, str] = field(default_factory=dict)
    mails: list[tuple[str, list[str], bytes]] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)


@contextmanager
def smtp_receiver(certificate: Path, *, implicit_tls: bool = False) -> Iterator[Mailbox]:
    """Run a real SMTP server (RFC 5321 with STARTTLS and AUTH) on a free port; ``certificate`` holds key and chain."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    box = Mailbox(0)
    loop = asyncio.new_event_loop()
    ready = threading.Event()
    stop = asyncio.Event()

    async def serve() -> None:
        async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await _session(box, tls, reader, writer, encrypted=implicit_tls)
            except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
                pass
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

        server = await asyncio.start_server(session, "127.0.0.1", 0, ssl=tls if implicit_tls else None)
        box.port = server.sockets[0].getsockname()[1]
        ready.set()
        await stop.wait()
        server.close()
        sessions = asyncio.all_tasks() - {asyncio.current_task()}
        for task in sessions:
            task.cancel()
        await asyncio.gather(*sessions, return_exceptions=True)

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    ready.wait()
    try:
        yield box
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


async def _session(
    box: Mailbox, tls: ssl.SSLContext, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, encrypted: bool
) -> None:
    sender, to = "", list[str]()

    async def say(text: str) -> None:
        writer.write(f"{text}\r\n".encode())
        await writer.drain()

    await say(box.answers.get("CONNECT", "220 mail.test ESMTP"))
    while line := (await reader.readline()).decode().strip():
        verb, _, rest = line.partition(" ")
        verb = verb.upper()
        if verb in box.answers:
            await say(box.answers[verb])
        elif verb == "EHLO":
            offers = ["mail.test", "8BITMIME", "AUTH PLAIN", *([] if encrypted else ["STARTTLS"])]
            for offer in offers[:-1]:
                await say(f"250-{offer}")
            await say(f"250 {offers[-1]}")
        elif verb == "STARTTLS":
            await say("220 go ahead")
            await writer.start_tls(tls)
            encrypted = True
        elif verb == "AUTH":
            _, user, password = base64.b64decode(rest.partition(" ")[2]).decode().split("\0")
            box.logins.append((user, password))
            await say("235 welcome" if password == "right" else "535 no")
        elif verb == "MAIL":
            sender, to = rest.split("<")[1].split(">")[0], []
            await say("250 ok")
        elif verb == "RCPT":
            to.append(rest.split("<")[1].split(">")[0])
            await say("250 ok")
        elif verb == "DATA":
            await say("354 go on")
            content = await reader.readuntil(b"\r\n.\r\n")
            box.mails.append((sender, to, content[:-5].replace(b"\r\n..", b"\r\n.")))
            box.encrypted.append(encrypted)
            await say("250 queued")
        elif verb == "QUIT":
            await say("221 bye")
            return
        else:
            await say("250 ok")


def self_signed(path: Path) -> Path:
    """Write a key and a certificate for 127.0.0.1 into one file, which is its own authority, and return it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mail.test")])
    now = datetime.now(UTC)  # noqa: TID251 - OpenSSL checks it by the real time
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(pem + made.public_bytes(serialization.Encoding.PEM))
    return path
