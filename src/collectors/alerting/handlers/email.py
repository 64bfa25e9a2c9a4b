"""Mail by SMTP."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from pathlib import Path
from typing import Literal

from collectors.alerting.handlers.http import Secret
from collectors.alerting.notification import Notification, iso, one_line, rule_name
from collectors.errors import PermanentError, RetryableError

MAX_SUBJECT = 200


class EmailHandler:
    """Sends one plain-text mail for each notification, to all addresses."""

    def __init__(
        self,
        host: str,
        port: int,
        sender: str,
        to: tuple[str, ...],
        *,
        security: Literal["starttls", "tls", "none"] = "starttls",
        username: str = "",
        password: Secret | None = None,
        ca_file: Path | None = None,
        timeout: float = 10.0,
    ) -> None:
        self._host = host
        self._port = port
        self._sender = sender
        self._to = to
        self._security = security
        self._username = username
        self._password = password
        self._ca_file = ca_file
        self._timeout = timeout

    async def send(self, notification: Notification) -> None:
        """Send the mail in a thread: the standard library's client blocks."""
        await asyncio.to_thread(self._send, message(notification, self._sender, self._to))

    def _send(self, mail: EmailMessage) -> None:
        try:
            with self._connect() as client:
                client.send_message(mail, self._sender, self._to)
        except smtplib.SMTPRecipientsRefused as error:
            raise self._refusal("recipient", max(code for code, _ in error.recipients.values())) from None
        except smtplib.SMTPAuthenticationError:
            raise RetryableError("the mail server refuses the login; check username and password") from None
        except smtplib.SMTPResponseException as error:
            raise self._refusal("mail", error.smtp_code) from None
        except (smtplib.SMTPException, OSError) as error:
            raise RetryableError(f"the mail server can't be reached ({type(error).__name__})") from None

    def _connect(self) -> smtplib.SMTP:
        tls = ssl.create_default_context(cafile=self._ca_file)
        client: smtplib.SMTP
        if self._security == "tls":
            client = smtplib.SMTP_SSL(self._host, self._port, timeout=self._timeout, context=tls)
        else:
            client = smtplib.SMTP(self._host, self._port, timeout=self._timeout)
        try:
            if self._security == "starttls":
                client.starttls(context=tls)
            if self._password is not None:
                client.login(self._username, self._password().get_secret_value())
        except BaseException:
            client.close()
            raise
        return client

    @staticmethod
    def _refusal(what: str, code: int) -> RetryableError | PermanentError:
        """Return the error for an answer: SMTP's 5xx will not change, 4xx may."""
        if code >= 500:
            return PermanentError(f"the mail server refused the {what} with code {code}")
        return RetryableError(f"the mail server put the {what} off with code {code}")


def message(notification: Notification, sender: str, to: tuple[str, ...]) -> EmailMessage:
    """Return the mail; its Message-ID is the notification's, so that mailboxes drop repetitions."""
    mail = EmailMessage(policy=SMTP)
    mail["Subject"] = one_line(notification.title())[:MAX_SUBJECT]
    mail["From"] = sender
    mail["To"] = ", ".join(to)
    mail["Message-ID"] = f"<{notification.id}@{sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail["Date"] = formatdate(notification.created_us / 1e6)
    mail.set_content("\n\n".join(_paragraph(notification, number) for number in range(len(notification.alerts))))
    return mail


def _paragraph(notification: Notification, number: int) -> str:
    alert = notification.alerts[number]
    lines = [
        f"{alert.state.upper()} {alert.severity}: {one_line(alert.summary)}",
        f"  tenant: {alert.tenant}",
        f"  rule: {rule_name(alert)}",
        *(f"  {k}: {one_line(v)}" for k, v in alert.labels),
        f"  since: {iso(alert.started_us)}",
        *([f"  until: {iso(alert.ended_us)}"] if alert.ended_us is not None else []),
        f"  id: {alert.id}",
    ]
    return "\n".join(lines)
