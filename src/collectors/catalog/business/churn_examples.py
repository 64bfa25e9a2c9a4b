"""Situations on which the collector of churn analytics is tried out."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from collectors.contract.example import Example

_DAY = timedelta(days=1)
_END = datetime(2026, 3, 2, 12, tzinfo=UTC)
_LOOKED_BACK = 71  # days: three horizons of 14, the 28 days before, and the one of today
_FADING = 21  # days before leaving in which somebody listens less

Row = dict[str, Any]


def examples() -> Iterable[Example]:
    """Return subscribers who listen less before they leave, and a handful that shows each way to come and go."""
    yield Example("who_listens_less_leaves", {"horizon_days": 14, "least_leavers": 10}, events=_listeners(), end=_END)
    yield Example(
        "each_way_to_come_and_go",
        {"observed_since": (_END - 200 * _DAY).isoformat()},
        events={"subscription": _ways()},
        end=_END,
        time_zone="Pacific/Auckland",
        currency="NZD",
    )


def _listeners() -> dict[str, list[Row]]:
    chance = random.Random(11)  # noqa: S311  # an example is no secret
    subscriptions: list[Row] = []
    plays: list[Row] = []
    refunds: list[Row] = []
    for number in range(240):
        who = f"listener-{number}"
        joined = chance.uniform(1, 180)
        leaves = joined - 5 - chance.expovariate(1 / 100)  # days ago, below zero if that is still to come
        price: Row = {"amount_minor": 999, "currency": "EUR", "interval": "month"}
        if number % 5 == 0:
            price = {"amount_minor": 9900, "currency": "USD", "interval": "year"}
        if number % 6 == 0:  # was here before
            subscriptions += [_action(joined + 60, who, "start", **price), _action(joined + 20, who, "cancel")]
        subscriptions.append(_action(joined, who, "reactivate" if number % 6 == 0 else "start", **price))
        if leaves > 0:
            at_end_of_period = _END - (leaves - 7 * chance.random()) * _DAY
            subscriptions.append(_action(leaves, who, "cancel", effective_time=at_end_of_period))
        if number % 4 == 0 and leaves < joined - 40:
            refunds.append(_refund(joined - 30, who))
        plays += _plays(chance, who, joined, leaves)
    return {"subscription": subscriptions, "playback": plays, "payment": refunds}


def _plays(chance: random.Random, who: str, joined: float, leaves: float) -> Iterator[Row]:
    """Yield a play on some of the days of a subscriber, on fewer of the last ones."""
    for ago in range(_LOOKED_BACK):
        fading = ago - leaves < _FADING
        listens, skips = (0.15, 0.3) if fading else (0.35, 0.15)
        minutes, heard, skipped = chance.uniform(1, 45), chance.random() < listens, chance.random() < skips
        if heard and leaves < ago < joined:
            yield {"event_time": ago * _DAY, "user_id": who, "track_id": f"track-{ago % 7}",
                   "ms_played": round(minutes * 60_000), "skipped": skipped}  # fmt: skip


def _ways() -> list[Row]:
    paid: Row = {"amount_minor": 1000, "currency": "NZD", "interval": "month"}
    return [
        _action(400, "began-before-the-records", "start", **paid | {"amount_minor": 1500}),
        _action(100, "pays-less", "start", **paid | {"amount_minor": 2000}),
        _action(10, "pays-less", "change", **paid),
        _action(90, "left", "start", **paid),
        _action(20, "left", "cancel", effective_time=_END - 5 * _DAY),
        _action(80, "changed-their-mind", "start", **paid),
        _action(12, "changed-their-mind", "cancel", effective_time=_END + 10 * _DAY),
        _action(6, "changed-their-mind", "renew", **paid),
        _action(60, "will-leave", "start", **paid),
        _action(3, "will-leave", "cancel", effective_time=_END + 20 * _DAY),
        _action(15, "came-and-went", "start", **paid),
        _action(7, "came-and-went", "cancel"),
        _action(5, "only-tries", "trial"),
        _action(50, "was-there-before", "renew", **paid),
        _action(70, "changed-plans", "start", **paid),
        _action(20, "changed-plans", "cancel"),
        _action(20, "changed-plans", "start", **paid | {"amount_minor": 1200}, subscription_id="another-plan"),
        _action(45, "takes-a-break", "start", **paid),
        _action(10, "takes-a-break", "pause"),
    ]


def _action(ago: float, who: str, what: str, **more: Any) -> Row:
    return {"event_time": ago * _DAY, "subscription_id": f"of-{who}", "customer_id": who, "action": what} | more


def _refund(ago: float, who: str) -> Row:
    return {"event_time": ago * _DAY, "payment_id": f"refund-{who}", "customer_id": who, "kind": "refund",
            "amount_minor": 500, "currency": "EUR", "status": "succeeded"}  # fmt: skip
