"""What the server's answer to a batch means: a receipt, or the error that says whether to try again."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from collectors.errors import (
    BadInput,
    CollectorsError,
    Forbidden,
    Overloaded,
    PermanentError,
    SourceRefused,
    SourceUnavailable,
    TooLarge,
    Unauthenticated,
    UnknownName,
)

LONGEST_RETRY_AFTER = 300.0
"""Seconds; a mistaken header must not silence a client for days."""

_PERMANENT: dict[int, tuple[type[PermanentError], str]] = {
    400: (BadInput, "the server could not read the batch"),
    401: (Unauthenticated, "the server does not know the key; check the client's key"),
    403: (Forbidden, "the key may not send events for this tenant; ask for the right or use another key"),
    404: (UnknownName, "the server has no such address; check the client's url and tenant"),
    413: (TooLarge, "the batch is too large for the server"),
}
_SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?")
_WAIT = frozenset({429, 503})
_TRANSIENT = frozenset({408, 425})


@dataclass(frozen=True, slots=True)
class Receipt:
    """How the server accounts for a batch; the four counts add up to its rows."""

    accepted: int
    duplicate: int
    rejected: int
    dropped: int
    reasons: tuple[str, ...] = ()


def read_answer(response: httpx.Response, rows: int, now_us: int) -> Receipt:
    """Return the receipt for a batch of ``rows`` events.

    Raises a RetryableError where the same bytes may be taken later, else a PermanentError. A success that does not
    account for every row is no receipt: something other than an intake answered, so the batch is still ours.
    """
    if response.is_success:
        return _receipt(response, rows)
    raise _refusal(response, now_us)


def _receipt(response: httpx.Response, rows: int) -> Receipt:
    try:
        answer: Any = response.json()
        counts = [answer[name] for name in ("accepted", "duplicate", "rejected", "dropped")]
        reasons = tuple(f"{r['reason']}: {r['detail']}" for r in answer.get("reasons") or ())
    except (ValueError, TypeError, KeyError, AttributeError):
        raise SourceUnavailable(f"the answer {response.status_code} is not a receipt; check the client's url") from None
    if any(type(count) is not int or count < 0 for count in counts) or sum(counts) != rows:
        raise SourceUnavailable(f"the receipt does not account for {rows} events")
    accepted, duplicate, rejected, dropped = counts
    return Receipt(accepted, duplicate, rejected, dropped, reasons)


def _refusal(response: httpx.Response, now_us: int) -> CollectorsError:
    status = response.status_code
    said = _message(response)
    if status in _WAIT:
        return Overloaded(f"the server is busy ({status}){said}", retry_after=_retry_after(response, now_us))
    if status in _TRANSIENT or status >= 500:
        return SourceUnavailable(f"the server failed ({status}){said}")
    error, meaning = _PERMANENT.get(status, (SourceRefused, f"the server refused the batch ({status})"))
    return error(meaning + said)


def _message(response: httpx.Response) -> str:
    """Return what the server says about its refusal, as an addition to our own words."""
    try:
        return f": {str(response.json()['error']['message'])[:300]}"
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError, KeyError):
        return ""


def _retry_after(response: httpx.Response, now_us: int) -> float:
    """Return the seconds of the Retry-After header (RFC 9110, section 10.2.3), 0 without a usable one."""
    text = response.headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(text):
        return min(float(text), LONGEST_RETRY_AFTER)
    try:
        seconds = parsedate_to_datetime(text).timestamp() - now_us / 1e6
    except (ValueError, OverflowError):
        return 0.0
    return min(max(0.0, seconds), LONGEST_RETRY_AFTER)
