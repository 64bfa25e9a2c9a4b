"""Situations on which the collector of customer lifetime value is tried out."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from collectors.contract.example import Example

_DAY = timedelta(days=1)
_MONTH = 365.2425 / 12
_END = datetime(2026, 3, 2, 12, tzinfo=UTC)

Row = dict[str, Any]


def examples() -> Iterable[Example]:
    """Return customers and subscribers who behave as the models assume, and a shop too young for any model."""
    chance = random.Random(5)  # noqa: S311  # an example is no secret
    bought = [row for number in range(200) for row in _customer(chance, f"customer-{number}")]
    signed = [row for number in range(200) for row in _subscriber(chance, f"subscriber-{number}")]
    yield Example("as_the_models_assume", {"cohorts": 4}, events={"payment": bought, "subscription": signed}, end=_END)
    yield Example(
        "just_opened",
        {"purchase_model": "pareto_nbd"},
        events={"payment": _first_sales(), "subscription": _first_subscribers()},
        end=_END,
        time_zone="America/New_York",
        currency="USD",
    )


def _customer(chance: random.Random, who: str) -> Iterator[Row]:
    """Yield purchases by BG/NBD with r = 1, alpha = 30, a = 1, b = 4 and spend by Gamma-Gamma with p = 4, q = 9."""
    ago = chance.uniform(3, 420)
    rate, leaves = chance.gammavariate(1, 1 / 30), chance.betavariate(1, 4)
    scale = 1 / chance.gammavariate(9, 1 / 4000)  # mean spend is 4 x 4000 / (9 - 1)
    repeats = 0
    while ago > 0:
        yield _charge(ago, who, max(1, round(chance.gammavariate(4, scale))))
        if repeats and chance.random() < leaves:  # nobody leaves before they came back once
            return
        ago -= chance.expovariate(rate)
        repeats += 1


def _subscriber(chance: random.Random, who: str) -> Iterator[Row]:
    """Yield a monthly subscription whose subscriber leaves at each renewal by a chance from Beta(1, 3)."""
    ago, leaves = chance.uniform(5, 420), chance.betavariate(1, 3)
    yield _action(ago, who, "start", amount_minor=999, currency="EUR", interval="month")
    while ago > _MONTH:
        ago -= _MONTH
        if chance.random() < leaves:
            yield _action(ago, who, "cancel")
            return


def _first_sales() -> list[Row]:
    """Return four customers, of whom two come back, beside all that is no purchase."""
    return [
        _charge(30, "comes-back", 2500, currency="USD"),
        _charge(20, "comes-back", 1500, currency="USD"),
        _charge(19.9, "comes-back", 500, currency="USD"),  # the same day in New York
        _charge(25, "comes-back-too", 2500, currency="USD"),
        _charge(5, "comes-back-too", 3500, currency="USD"),
        _charge(12, "bought-once", 1000, currency="USD"),
        _charge(8, "bought-once-in-euros", 1000),
        _charge(0.1, "today", 1000, currency="USD"),  # a day that is not over
        _charge(9, "did-not-pay", 1000, currency="USD", status="failed"),
        _charge(9, "free", 0, currency="USD"),
        _charge(9, "subscribes", 999, currency="USD", period_start=_END - 9 * _DAY, period_end=_END + 20 * _DAY),
        _charge(9, "bought-once", 100, currency="USD") | {"kind": "tax", "payment_id": "tax"},
    ]


def _first_subscribers() -> list[Row]:
    paid: Row = {"amount_minor": 999, "currency": "USD"}
    return [
        _action(65, "monthly", "start", interval="month", **paid),
        _action(40, "left", "start", interval="month", **paid),
        _action(20, "left", "cancel", effective_time=_END - 9.5 * _DAY),
        _action(33, "will-leave", "start", interval="month", **paid),
        _action(2, "will-leave", "cancel", effective_time=_END + 26 * _DAY),
        _action(10, "yearly", "start", interval="year", discount_minor=99, **paid | {"amount_minor": 9900}),
        _action(4, "only-tries", "trial"),
    ]


def _charge(ago: float, who: str, amount: int, **more: Any) -> Row:
    return {"event_time": ago * _DAY, "payment_id": f"{who}-{ago:.4f}", "customer_id": who, "kind": "charge",
            "amount_minor": amount, "currency": "EUR", "status": "succeeded"} | more  # fmt: skip


def _action(ago: float, who: str, what: str, **more: Any) -> Row:
    return {"event_time": ago * _DAY, "subscription_id": f"of-{who}", "customer_id": who, "action": what} | more
