"""The metrics of revenue, declared."""

from __future__ import annotations

from collectors.analytics.revenue import MOVEMENTS
from collectors.model.metric import Kind, MetricSpec, Unit

RATE_PERIODS = ("month_to_date", "last_month", "last_12_months")
USER_PERIODS = {"last_month": 1, "last_3_months": 3}
PAYMENT_KINDS = {"charge": 1, "refund": -1, "chargeback": -1, "chargeback_reversal": 1, "tax": 0, "fee": 0}
"""Kinds of payments by the sign with which they count as revenue."""

CUSTOMER_MOVES = ("start", "new", "reactivation", "churn", "end")
MRR_ROWS = ("start", *MOVEMENTS, "end")
CONVERTED_ROWS = ("start", *MOVEMENTS, "fx", "end")

_MINOR, _RATIO = Unit.MINOR_UNITS, Unit.RATIO


def _gauge(name: str, unit: Unit, description: str, *labels: str, nullable: bool = False) -> MetricSpec:
    return MetricSpec(f"collectors.revenue.{name}", Kind.GAUGE, unit, description, labels, nullable=nullable)


def _rate(name: str, description: str) -> MetricSpec:
    return _gauge(name, _RATIO, description, "period", nullable=True)


MRR = _gauge("mrr", _MINOR, "Monthly recurring revenue now.", "currency")
MRR_CONVERTED = _gauge("mrr_converted", _MINOR, "MRR of all currencies now, converted.", "currency", nullable=True)
ARR = _gauge("arr", _MINOR, "Annual recurring revenue now, 12 times MRR.", "currency")
ARR_CONVERTED = _gauge("arr_converted", _MINOR, "ARR of all currencies now, converted.", "currency", nullable=True)
MOVED = _gauge("mrr_movement", _MINOR, "MRR of a month from start to end.", "currency", "months_ago", "movement")
MOVED_CONVERTED = _gauge(
    "mrr_movement_converted",
    _MINOR,
    "MRR of all currencies of a month from start to end, with the impact of exchange rates.",
    "currency",
    "months_ago",
    "movement",
    nullable=True,
)
CUSTOMERS = _gauge(
    "customers", Unit.USERS, "Customers with MRR, from start to end of a month.", "months_ago", "movement"
)
ARPA = _gauge("arpa", _MINOR, "MRR per customer who has some, converted.", "currency", nullable=True)
ARPU = _gauge(
    "arpu",
    _MINOR,
    "Recognised revenue a month per average daily paying customer, converted.",
    "currency",
    "period",
    nullable=True,
)
ARPPU = _gauge(
    "arppu", _MINOR, "Payments less refunds per customer who paid, converted.", "currency", "period", nullable=True
)
SUBSCRIBERS = _gauge(
    "average_daily_subscribers", Unit.USERS, "Mean over days of customers with a paid subscription.", "period"
)
QUICK_RATIO = _rate("quick_ratio", "MRR gained to MRR lost in the period.")
LOGO_CHURN = _rate("logo_churn", "Share of the customers at the start who left in the period.")
GROSS_CHURN = _rate("gross_mrr_churn", "Churn and contraction as a share of the MRR at the start.")
NET_CHURN = _rate("net_mrr_churn", "Churn and contraction less expansion and reactivation, as a share of the start.")
NRR = _rate("cohort_nrr", "What customers of the start pay now as a share of what they paid.")
GRR = _rate("cohort_grr", "What customers of the start pay now, at most as before, as a share of what they paid.")
PAYMENTS = _gauge("payments", _MINOR, "Succeeded payments of a month by kind.", "currency", "months_ago", "kind")
NET = _gauge(
    "net_payments",
    _MINOR,
    "Charges less refunds and chargebacks plus reversed chargebacks of a month.",
    "currency",
    "months_ago",
)
RECOGNISED = _gauge(
    "recognised",
    _MINOR,
    "Revenue that a month's days of service earned, less what was paid back in it.",
    "currency",
    "months_ago",
)
RECOGNISED_CONVERTED = _gauge(
    "recognised_converted",
    _MINOR,
    "Recognised revenue of all currencies of a month, converted at average rates.",
    "currency",
    "months_ago",
    nullable=True,
)
DEFERRED = _gauge("deferred", _MINOR, "Charged for service that is still to come.", "currency")
RECONCILED = _gauge(
    "reconciliation_accounts",
    Unit.COUNT,
    "Customers by how their payments agree with their subscriptions now.",
    "currency",
    "outcome",
)
DIFFERENCE = _gauge(
    "reconciliation_difference", _MINOR, "Paid less expected for the current periods.", "currency", "outcome"
)

EMITS = (
    MRR, MRR_CONVERTED, ARR, ARR_CONVERTED, MOVED, MOVED_CONVERTED, CUSTOMERS, ARPA, ARPU, ARPPU, SUBSCRIBERS,
    QUICK_RATIO, LOGO_CHURN, GROSS_CHURN, NET_CHURN, NRR, GRR, PAYMENTS, NET, RECOGNISED, RECOGNISED_CONVERTED,
    DEFERRED, RECONCILED, DIFFERENCE,
)  # fmt: skip
