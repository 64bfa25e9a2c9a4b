"""Each handler speaks its receiver's language, to a real listener that checks it, and never tells its secret."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import email
import email.policy
import hashlib
import hmac
import json
import logging
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from alert_cases import T0, S, alert, notification
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from tests.support.clock import ManualClock
from tests.support.receivers import (
    SLACK,
    HttpReceiver,
    PagerDuty,
    http_receiver,
    judge_slack,
    self_signed,
    smtp_receiver,
)

from collectors.alerting.handlers import slack
from collectors.alerting.handlers.alertmanager import AlertmanagerHandler
from collectors.alerting.handlers.build import receiver
from collectors.alerting.handlers.email import EmailHandler
from collectors.alerting.handlers.function import FunctionHandler
from collectors.alerting.handlers.pagerduty import PagerDutyHandler
from collectors.alerting.handlers.slack import SlackHandler
from collectors.alerting.handlers.webhook import WebhookHandler, signature
from collectors.alerting.notification import AlertHandler, Kind, Notification
from collectors.config import alerting as config
from collectors.errors import ConfigError, Overloaded, PermanentError, RetryableError
from collectors.model.alert import AlertState
from collectors.model.metric import Severity

KEY = "0123456789abcdef0123456789abcdef"
SECRET = "T0P/SECRET/t0ken"


def secret(text: str) -> Callable[[], SecretStr]:
    return lambda: SecretStr(text)


@pytest.fixture
def http() -> Iterator[HttpReceiver]:
    with http_receiver() as made:
        yield made


def resolved(**labels: str) -> Any:
    return replace(alert(**labels), state=AlertState.RESOLVED, ended_us=T0 + 60 * S)


# Slack


async def test_slack_takes_the_message_and_shows_what_matters(http: HttpReceiver) -> None:
    http.judge = judge_slack
    hostile = alert(host="<!channel>", summary="cpu is *high* & <http://evil|here>\n@all", severity=Severity.CRITICAL)
    shown = notification(hostile, resolved(host="b"))
    await SlackHandler(secret(f"{http.url}/services/{SECRET}")).send(shown)
    (request,) = http.received
    assert request.path == f"/services/{SECRET}"
    text = json.dumps(request.json, ensure_ascii=False)
    assert "<!channel>" not in text
    assert "&lt;!channel&gt;" in text
    assert "<http" not in request.json["blocks"][1]["text"]["text"]
    assert request.json["blocks"][0]["text"]["text"].startswith("[FIRING 1] acme: cpu is *high*")
    assert ":red_circle:" in text
    assert ":white_check_mark:" in text
    assert "until 2026-09-21T14:14:20.000Z" in text


@given(st.text(max_size=6000), st.text(min_size=1, max_size=4000), st.integers(1, 20))
def test_slack_messages_stay_within_block_kit_whatever_the_texts(summary: str, value: str, count: int) -> None:
    shown = notification(*(alert(summary=summary, host=value, number=str(n)) for n in range(count)))
    message = slack.message(replace(shown, labels=(("host", value),), kind=Kind.ACKNOWLEDGED))
    assert not [e.message for e in SLACK.iter_errors(json.loads(json.dumps(message)))]


def test_long_texts_are_cut_where_slack_would_refuse_them() -> None:
    text = slack.message(notification(alert(summary="&" * 5000)))["blocks"][1]["text"]["text"]
    assert text.startswith(":large_orange_circle: *cpu*: &amp;&amp;")
    assert "&amp;…" in text


# PagerDuty


async def test_pagerduty_has_one_incident_from_trigger_to_resolve(http: HttpReceiver) -> None:
    pagerduty = PagerDuty()
    http.judge = pagerduty.judge
    handler = PagerDutyHandler(secret(KEY), url=f"{http.url}/v2/enqueue")
    fired = alert(host="a", severity=Severity.CRITICAL, summary="x" * 3000)
    await handler.send(notification(fired))
    await handler.send(notification(fired, changed=False))
    assert pagerduty.incidents == {fired.id: "triggered"}
    await handler.send(notification(fired, kind=Kind.ACKNOWLEDGED))
    assert pagerduty.incidents == {fired.id: "acknowledged"}
    await handler.send(notification(replace(fired, state=AlertState.RESOLVED, ended_us=T0 + S), kind=Kind.RESOLVED))
    assert pagerduty.incidents == {fired.id: "resolved"}
    assert [r.json["event_action"] for r in http.received] == ["trigger", "trigger", "acknowledge", "resolve"]
    payload = http.received[0].json["payload"]
    assert (payload["severity"], payload["source"], payload["component"]) == ("critical", "acme", "cpu")


async def test_pagerduty_is_only_told_what_changed(http: HttpReceiver) -> None:
    http.judge = PagerDuty().judge
    known, new = alert(host="known"), alert(host="new")
    await PagerDutyHandler(secret(KEY), url=http.url).send(replace(notification(known, new), changed=(new.id,)))
    assert [r.json["dedup_key"] for r in http.received] == [new.id]


async def test_an_event_that_pagerduty_finds_invalid_is_refused_for_good(http: HttpReceiver) -> None:
    http.judge = PagerDuty().judge
    with pytest.raises(PermanentError, match="status 400"):
        await PagerDutyHandler(secret("short"), url=http.url).send(notification())


# Webhook


async def test_a_webhook_can_be_checked_by_its_receiver(http: HttpReceiver) -> None:
    key = base64.b64encode(b"0123456789abcdef").decode()
    clock = ManualClock(T0)
    await WebhookHandler(f"{http.url}/hook", secret(f"whsec_{key}"), clock).send(notification())
    (request,) = http.received
    assert request.headers["webhook-id"] == "n1"
    assert request.headers["webhook-timestamp"] == str(T0 // S)
    signed = b"n1." + str(T0 // S).encode() + b"." + request.body
    expected = base64.b64encode(hmac.new(b"0123456789abcdef", signed, hashlib.sha256).digest()).decode()
    assert request.headers["webhook-signature"] == f"v1,{expected}"
    assert request.json["type"] == "alert.firing"
    assert request.json["data"]["alerts"][0] == {
        "id": alert(host="web1").id,
        "status": "firing",
        "tenant": "acme",
        "rule": "cpu",
        "key": "host=web1",
        "severity": "warning",
        "summary": "cpu_usage is 95, above 80",
        "labels": {"host": "web1"},
        "value": 0.95,
        "started": "2026-09-21T14:13:20.000Z",
        "ended": None,
    }


def test_a_signing_key_may_be_any_text_but_no_broken_base64() -> None:
    assert signature(SecretStr("plain"), "a", 1, b"{}") != signature(SecretStr("other"), "a", 1, b"{}")
    with pytest.raises(ConfigError, match="base64"):
        signature(SecretStr("whsec_!!"), "a", 1, b"{}")


# What all that speak HTTP have in common


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (400, {}, PermanentError),
        (422, {}, PermanentError),
        (403, {}, RetryableError),
        (404, {}, RetryableError),
        (500, {}, RetryableError),
        (302, {"Location": "http://127.0.0.1:1/"}, RetryableError),
        (429, {"Retry-After": "17"}, Overloaded),
        (503, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, Overloaded),
    ],
)
async def test_an_answer_says_whether_to_try_again(
    http: HttpReceiver, status: int, headers: dict[str, str], expected: type[Exception]
) -> None:
    http.script.append((status, headers, b""))
    with pytest.raises(expected) as raised:
        await SlackHandler(secret(http.url)).send(notification())
    assert type(raised.value) is expected
    if isinstance(raised.value, Overloaded):
        assert raised.value.retry_after == (17 if status == 429 else 0)


async def test_an_answer_without_end_is_not_waited_for() -> None:
    gone = asyncio.Event()

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n" + b"x" * 1000)
        with contextlib.suppress(ConnectionError):
            await reader.read()  # until the other side goes
            writer.close()
            await writer.wait_closed()
        gone.set()

    server = await asyncio.start_server(endless, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    await SlackHandler(secret(f"http://127.0.0.1:{port}")).send(notification())
    await gone.wait()
    server.close()


async def test_no_secret_is_in_errors_logs_or_representations(
    http: HttpReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    handlers: list[AlertHandler] = [
        SlackHandler(secret(f"{http.url}/{SECRET}")),
        SlackHandler(secret(f"http://127.0.0.1:1/{SECRET}")),
        SlackHandler(secret(f"no address {SECRET}")),
        SlackHandler(secret(f"http://127.0.0.1:99999999/{SECRET}")),
        PagerDutyHandler(secret(SECRET), url=http.url),
        WebhookHandler(http.url, secret(SECRET), ManualClock()),
        AlertmanagerHandler(http.url, ManualClock(), token=secret(SECRET)),
    ]
    http.judge = lambda request: (500, {}, request.body)
    told = []
    for handler in handlers:
        with pytest.raises(RetryableError) as raised:
            await handler.send(notification())
        told += [str(raised.value), repr(raised.value), repr(raised.value.__cause__), repr(handler)]
    assert SECRET not in "".join(told)
    assert SECRET not in caplog.text
    logging.getLogger("httpx").info("others may still log")
    assert "others may still log" in caplog.text


async def test_alertmanager_knows_no_acknowledgement_and_gets_a_token_if_there_is_one(http: HttpReceiver) -> None:
    handler = AlertmanagerHandler(f"{http.url}/am/", ManualClock(T0), token=secret("t"))
    await handler.send(notification(kind=Kind.ACKNOWLEDGED))
    assert http.received == []
    await handler.send(notification())
    assert (http.received[0].path, http.received[0].headers["authorization"]) == ("/am/api/v2/alerts", "Bearer t")


# Mail


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return self_signed(tmp_path_factory.mktemp("tls") / "mail.pem")


def mailer(port: int, certificate: Path, **given: Any) -> EmailHandler:
    return EmailHandler(
        "127.0.0.1", port, "alerts@acme.test", ("sre@acme.test", "ops@acme.test"), ca_file=certificate, **given
    )


@pytest.mark.parametrize("security", ["starttls", "tls", "none"])
async def test_mail_arrives_encrypted_as_configured(certificate: Path, security: str) -> None:
    login = {} if security == "none" else {"username": "me", "password": secret("right")}
    hostile = alert(summary="broken\r\nBcc: all@acme.test\n\n.\nüber", host="a")
    with smtp_receiver(certificate, implicit_tls=security == "tls") as box:
        handler = mailer(box.port, certificate, security=security, **login)
        await handler.send(notification(hostile, resolved(host="b")))
    ((sender, to, content),) = box.mails
    assert (sender, to, box.encrypted) == ("alerts@acme.test", ["sre@acme.test", "ops@acme.test"], [security != "none"])
    assert box.logins == ([] if security == "none" else [("me", "right")])
    mail = email.message_from_bytes(content, policy=email.policy.default)
    assert mail["Subject"] == "[FIRING 1] acme: broken Bcc: all@acme.test . über and 1 more"
    assert mail["Bcc"] is None
    assert mail["Message-ID"] == "<n1@acme.test>"
    text = mail.get_content()
    assert "FIRING warning: broken Bcc: all@acme.test . über" in text
    assert "until: 2026-09-21T14:14:20.000Z" in text


@pytest.mark.parametrize(
    ("answers", "expected", "message"),
    [
        ({"RCPT": "550 unknown"}, PermanentError, "recipient with code 550"),
        ({"RCPT": "450 later"}, RetryableError, "recipient off with code 450"),
        ({"MAIL": "552 too large"}, PermanentError, "mail with code 552"),
        ({"DATA": "451 later"}, RetryableError, "mail off with code 451"),
        ({"CONNECT": "421 busy"}, RetryableError, "mail off with code 421"),
        ({"STARTTLS": "454 no"}, RetryableError, "454|reached"),
    ],
)
async def test_a_mail_servers_answer_says_whether_to_try_again(
    certificate: Path, answers: dict[str, str], expected: type[Exception], message: str
) -> None:
    with smtp_receiver(certificate) as box:
        box.answers = answers
        with pytest.raises(expected, match=message) as raised:
            await mailer(box.port, certificate).send(notification())
    assert type(raised.value) is expected


async def test_a_wrong_password_is_not_told(certificate: Path) -> None:
    with smtp_receiver(certificate) as box, pytest.raises(RetryableError, match="login") as raised:
        await mailer(box.port, certificate, username="me", password=secret(SECRET)).send(notification())
    assert SECRET not in f"{raised.value!r}{raised.value.__cause__!r}"


async def test_mail_is_not_sent_to_a_server_that_is_not_trusted(certificate: Path, tmp_path: Path) -> None:
    with smtp_receiver(certificate) as box, pytest.raises(RetryableError, match="SSLCertVerificationError"):
        await mailer(box.port, self_signed(tmp_path / "other.pem")).send(notification())
    assert box.mails == []


async def test_a_mail_server_that_is_not_there_can_be_tried_again(certificate: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(RetryableError, match="can't be reached"):
            await mailer(unused.getsockname()[1], certificate).send(notification())


# Functions


async def test_any_async_callable_gets_each_alert_as_a_dict() -> None:
    got: list[dict[str, Any]] = []

    async def custom_alert_handler(alert_data: dict[str, Any]) -> None:
        got.append(alert_data)

    class Caller:
        async def __call__(self, alert_data: dict[str, Any]) -> None:
            got.append(alert_data)

    first, second = alert(host="a"), alert(host="b")
    await FunctionHandler(custom_alert_handler).send(replace(notification(first, second), changed=(first.id,)))
    await FunctionHandler(Caller()).send(notification(second, kind=Kind.ACKNOWLEDGED))
    assert [(g["id"], g["status"]) for g in got] == [(first.id, "firing"), (second.id, "acknowledged")]


def test_a_callable_that_is_not_async_is_refused_at_once() -> None:
    def plain(alert_data: dict[str, Any]) -> None:
        raise AssertionError(alert_data)

    for wrong in (plain, asyncio.Event()):
        with pytest.raises(ConfigError, match="is not asynchronous"):
            FunctionHandler(wrong)  # type: ignore[arg-type]


# From configuration


async def test_what_is_configured_is_built_and_reads_its_secret_each_time(http: HttpReceiver, tmp_path: Path) -> None:
    file = tmp_path / "hook"
    file.write_text(f"{http.url}/first\n")
    made = receiver(config.SlackHandler(url=f"file:{file}", timeout_seconds=3, give_up_seconds=9), ManualClock())
    assert (made.timeout, made.give_up) == (3, 9)
    await made.handler.send(notification())
    file.write_text(f"{http.url}/rotated")
    await made.handler.send(notification())
    assert [r.path for r in http.received] == ["/first", "/rotated"]


async def test_every_kind_of_handler_is_built(
    http: HttpReceiver, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", KEY)
    with smtp_receiver(certificate) as box:
        box.answers["AUTH"] = "235 welcome"
        for given in (
            config.PagerDutyHandler(routing_key="env:SOME_KEY", url=http.url),
            config.WebhookHandler(url=http.url, secret="env:SOME_KEY"),
            config.AlertmanagerHandler(url=http.url, token="env:SOME_KEY"),
            config.AlertmanagerHandler(url=http.url),
            config.EmailHandler(
                host="127.0.0.1",
                port=box.port,
                ca_file=certificate,
                sender="a@b.test",
                to=("c@d.test",),
                username="me",
                password="env:SOME_KEY",
            ),
            config.EmailHandler(host="127.0.0.1", port=box.port, sender="a@b.test", to=("c@d.test",), security="none"),
        ):
            await receiver(given, ManualClock(T0)).handler.send(notification())
    assert (len(http.received), len(box.mails)) == (4, 2)


def test_a_notification_survives_storage() -> None:
    given = notification(alert(host="a"), resolved(host="b"), kind=Kind.RESOLVED)
    assert Notification.load(given.dump()) == given
