"""Situations on which the collector of revenue metrics is tried out."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from collectors.contract.example import Example

_DAY = timedelta(days=1)


def examples() -> Iterable[Example]:
    """Return a small business with all movements in two currencies, and one whose rates are missing."""
    actions = [
        _action(400, "annual", "start", 12_000, interval="year"),
        _action(100, "monthly", "trial"),
        _action(86, "monthly", "start", 999),
        _action(26, "monthly", "change", 1499),
        _action(90, "leaver", "start", 999, discount_minor=200),
        _action(45, "leaver", "cancel", effective_time=datetime(2026, 2, 1, tzinfo=UTC)),
        _action(80, "returner", "start", 1299, currency="USD"),
        _action(60, "returner", "pause"),
        _action(10, "returner", "resume"),
        _action(70, "weekly", "start", 300, interval="week"),
        _action(20, "weekly", "change", 200, interval="week"),
        _action(5, "newcomer", "start", 999),
    ]
    payments = [
        _payment(400, "annual", 12_000, period_start=datetime(2025, 3, 1, tzinfo=UTC),
                 period_end=datetime(2026, 3, 1, tzinfo=UTC)),
        _payment(28, "monthly", 999, period_start=datetime(2026, 2, 3, tzinfo=UTC),
                 period_end=datetime(2026, 3, 3, tzinfo=UTC)),
        _payment(5, "newcomer", 999, period_start=datetime(2026, 2, 25, 12, tzinfo=UTC),
                 period_end=datetime(2026, 3, 25, 12, tzinfo=UTC)),
        _payment(80, "returner", 1299, currency="USD"),
        _payment(75, "returner", 1299, "chargeback", currency="USD"),
        _payment(35, "returner", 1299, "chargeback_reversal", currency="USD"),
        _payment(40, "leaver", 400, "refund"),
        _payment(40, "leaver", 60, "fee"),
        _payment(3, "weekly", 200, status="failed"),
    ]  # fmt: skip
    events = {"subscription": actions, "payment": payments}
    rates = {"EUR/USD": {"2025-03-01": "1.08", "2025-12-31": "1.1750", "2026-02-27": "1.1812"}}
    yield Example(
        "two_currencies", {"exchange": {"source": "a bank", "rates": rates, "valid_days": 366}}, events=events
    )
    yield Example(
        "rates_missing", {"convention": "paddle"}, events=events, time_zone="Pacific/Auckland", currency="NZD"
    )


def _action(ago: float, subscription: str, what: str, amount: int | None = None, **more: Any) -> dict[str, Any]:
    row = {"event_time": ago * _DAY, "subscription_id": subscription, "customer_id": f"customer-{subscription}"}
    price = {} if amount is None else {"amount_minor": amount, "currency": "EUR", "interval": "month"}
    return row | {"action": what} | price | more


def _payment(ago: float, customer: str, amount: int, kind: str = "charge", **more: Any) -> dict[str, Any]:
    return {
        "event_time": ago * _DAY,
        "payment_id": f"{kind}-{customer}-{ago:g}",
        "customer_id": f"customer-{customer}",
        "kind": kind,
        "amount_minor": amount,
        "currency": "EUR",
        "status": "succeeded",
    } | more
