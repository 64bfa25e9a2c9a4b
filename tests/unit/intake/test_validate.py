"""Each rule finds the rows that break it, and says which field and rule, never the value."""

from __future__ import annotations

import pyarrow as pa
import pytest

from collectors.intake.validate import EARLIEST_US, FUTURE_SKEW_US, LATEST_US, validate
from collectors.model.event_type import TIMESTAMP
from collectors.model.event_types import AUTH, PAYMENT, PLAYBACK, PREDICTION, RECOMMENDATION, EventType

NOW = 1_700_000_000_000_000
DAY = 86_400_000_000


def batch(event_type: EventType, rows: list[dict[str, object]]) -> pa.RecordBatch:
    filled = [{"event_id": b"0" * 16, "event_time": NOW} | row for row in rows]
    return pa.RecordBatch.from_pylist(filled, schema=event_type.wire_schema)


def broken(event_type: EventType, rows: list[dict[str, object]]) -> list[tuple[int, str]]:
    found = validate(batch(event_type, rows), event_type, NOW)
    return [(r.row, r.reason) for r in found]


PLAY: dict[str, object] = {"track_id": "t", "ms_played": 1}
PAID: dict[str, object] = {
    "payment_id": "p",
    "customer_id": "c",
    "kind": "charge",
    "amount_minor": 1,
    "currency": "EUR",
}


def test_good_rows_of_every_shape_pass() -> None:
    assert broken(PLAYBACK, [PLAY, PLAY | {"country": "SE", "skipped": True}]) == []
    assert broken(PAYMENT, [PAID, PAID | {"status": None}]) == []
    assert broken(RECOMMENDATION, [{"slate_id": "s", "items": ["a"], "propensities": None}]) == []
    assert broken(PREDICTION, [{"model": "m", "prediction_id": "p", "features": [("a", 1.0)]}]) == []


@pytest.mark.parametrize(
    ("event_type", "bad", "reason"),
    [
        (PLAYBACK, PLAY | {"track_id": None}, "missing"),
        (PLAYBACK, PLAY | {"ms_played": -1}, "too_small"),
        (PLAYBACK, PLAY | {"ms_played": DAY // 1000 + 1}, "too_large"),
        (PLAYBACK, PLAY | {"country": "SWE"}, "too_long"),
        (PLAYBACK, PLAY | {"event_time": NOW + FUTURE_SKEW_US + 1}, "in_future"),
        (PLAYBACK, PLAY | {"event_time": NOW - 401 * DAY}, "too_old"),
        (PAYMENT, PAID | {"kind": "gift"}, "not_allowed"),
        (PAYMENT, PAID | {"period_start": LATEST_US}, "not_a_date"),
        (PAYMENT, PAID | {"period_end": EARLIEST_US - 1}, "not_a_date"),
        (AUTH, {"principal": "p", "outcome": "success", "latitude": 90.5}, "too_large"),
        (AUTH, {"principal": "p", "outcome": "success", "longitude": float("nan")}, "not_finite"),
        (PREDICTION, {"model": "m", "prediction_id": "p", "score": float("inf")}, "not_finite"),
        (
            PREDICTION,
            {"model": "m", "prediction_id": "p", "features": [(str(i), 1.0) for i in range(1001)]},
            "too_long",
        ),
        (RECOMMENDATION, {"slate_id": "s", "items": ["x"] * 1001}, "too_long"),
        (RECOMMENDATION, {"slate_id": "s", "items": None}, "missing"),
    ],
)
def test_a_bad_row_is_found_between_good_ones(event_type: EventType, bad: dict[str, object], reason: str) -> None:
    good: dict[str, object] = {
        "playback": PLAY,
        "payment": PAID,
        "auth": {"principal": "p", "outcome": "success"},
        "prediction": {"model": "m", "prediction_id": "p"},
        "recommendation": {"slate_id": "s", "items": ["a"]},
    }[event_type.name]
    assert broken(event_type, [good, bad, good]) == [(1, reason)]
    assert broken(event_type, [bad]) == [(0, reason)]


def test_a_row_is_rejected_once_for_the_first_rule_it_breaks() -> None:
    assert broken(PLAYBACK, [{"track_id": None, "ms_played": -1, "country": "SWE"}]) == [(0, "missing")]


def test_the_edges_of_the_time_rules_are_inside() -> None:
    edges = [NOW + FUTURE_SKEW_US, NOW - 400 * DAY]
    assert broken(PLAYBACK, [PLAY | {"event_time": t} for t in edges]) == []
    assert broken(PAYMENT, [PAID | {"period_start": EARLIEST_US, "period_end": LATEST_US - 1}]) == []


def test_sliced_batches_are_judged_by_their_own_rows() -> None:
    whole = batch(PLAYBACK, [PLAY | {"country": "SWEDEN"}, PLAY, PLAY | {"track_id": "x" * 257}, PLAY])
    assert validate(whole.slice(1, 1), PLAYBACK, NOW) == []
    assert [(r.row, r.reason) for r in validate(whole.slice(1, 3), PLAYBACK, NOW)] == [(1, "too_long")]


def test_rejections_never_repeat_a_value() -> None:
    (rejection,) = validate(batch(PAYMENT, [PAID | {"kind": "secret-kind"}]), PAYMENT, NOW)
    assert "secret" not in rejection.detail
    assert "charge" in rejection.detail


def test_an_empty_batch_is_fine() -> None:
    assert validate(batch(PLAYBACK, []), PLAYBACK, NOW) == []
    assert batch(PLAYBACK, []).schema.field("event_time").type == TIMESTAMP
