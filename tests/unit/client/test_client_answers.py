"""What the server's answers mean."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

import httpx
import pytest

from collectors.client.answers import LONGEST_RETRY_AFTER, Receipt, read_answer
from collectors.errors import (
    BadInput,
    Forbidden,
    Overloaded,
    SourceRefused,
    SourceUnavailable,
    TooLarge,
    Unauthenticated,
    UnknownName,
)

NOW_US = 1_800_000_000_000_000
GOOD = {"accepted": 3, "duplicate": 1, "rejected": 2, "dropped": 4}


def error_of(response, rows=10):
    with pytest.raises(Exception) as caught:  # noqa: PT011  each test looks at its exact type
        read_answer(response, rows, NOW_US)
    return caught.value


def retry_after(text):
    error = error_of(httpx.Response(503, headers={"Retry-After": text}))
    assert type(error) is Overloaded
    return error.retry_after


def test_a_receipt_carries_the_counts_and_reasons():
    reasons = [{"row": 3, "reason": "missing", "detail": "track_id is required"}]
    response = httpx.Response(202, json={**GOOD, "reasons": reasons, "position": 1})
    assert read_answer(response, 10, NOW_US) == Receipt(3, 1, 2, 4, ("missing: track_id is required",))
    assert read_answer(httpx.Response(200, json=GOOD), 10, NOW_US) == Receipt(3, 1, 2, 4)


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(202, json={**GOOD, "accepted": 2}),
        httpx.Response(202, json={**GOOD, "accepted": True, "dropped": 6}),
        httpx.Response(202, json={**GOOD, "accepted": -3, "dropped": 10}),
        httpx.Response(202, json={**GOOD, "accepted": 3.0}),
        httpx.Response(202, json={"accepted": 10}),
        httpx.Response(202, json={**GOOD, "reasons": [1]}),
        httpx.Response(202, json=[1]),
        httpx.Response(202, json=None),
        httpx.Response(200, text="<html>"),
        httpx.Response(204),
    ],
)
def test_a_success_that_does_not_account_for_every_row_is_no_receipt(response):
    assert type(error_of(response)) is SourceUnavailable


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (301, SourceRefused),
        (400, BadInput),
        (401, Unauthenticated),
        (403, Forbidden),
        (404, UnknownName),
        (405, SourceRefused),
        (413, TooLarge),
        (422, SourceRefused),
        (408, SourceUnavailable),
        (425, SourceUnavailable),
        (429, Overloaded),
        (500, SourceUnavailable),
        (502, SourceUnavailable),
        (503, Overloaded),
        (504, SourceUnavailable),
    ],
)
def test_each_status_has_its_error(status, error):
    assert type(error_of(httpx.Response(status))) is error


def test_the_servers_own_words_are_passed_on_up_to_a_length():
    assert str(error_of(httpx.Response(400, json={"error": {"message": "no such column"}}))).endswith(
        ": no such column"
    )
    assert len(str(error_of(httpx.Response(400, json={"error": {"message": "x" * 5000}})))) < 400
    for answer in ("[]", "{}", '{"error": null}', "\xff", "nonsense"):
        assert str(error_of(httpx.Response(400, text=answer))) == "the server could not read the batch"
    assert str(error_of(httpx.Response(400, content=b"\xff\xfe"))) == "the server could not read the batch"


def test_retry_after_may_be_seconds_or_a_date():
    assert retry_after("7") == 7.0
    assert retry_after(" 1.5 ") == 1.5
    assert retry_after(format_datetime(datetime.fromtimestamp(NOW_US / 1e6 + 30, UTC), usegmt=True)) == 30.0


@pytest.mark.parametrize(
    "text", ["", "soon", "-5", "nan", "1e3", "٣", format_datetime(datetime(2000, 1, 1, tzinfo=UTC))]
)
def test_a_useless_retry_after_counts_as_none(text):
    response = httpx.Response(429, headers=[(b"Retry-After", text.encode())])
    assert error_of(response).retry_after == 0.0


def test_an_absurd_retry_after_is_bounded():
    assert retry_after("9" * 400) == LONGEST_RETRY_AFTER
    assert retry_after(format_datetime(datetime(2999, 1, 1, tzinfo=UTC))) == LONGEST_RETRY_AFTER
