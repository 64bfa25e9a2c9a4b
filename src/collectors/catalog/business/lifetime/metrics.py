"""The metrics of customer lifetime value."""

from __future__ import annotations

from collectors.analytics.clv.fit import Estimate, Interval
from collectors.analytics.refusal import Refusal
from collectors.model.metric import Kind, MetricSpec, Sample, Unit

BOUNDS = ("estimate", "lower", "upper")
ALL = "all"


def _gauge(name: str, unit: Unit, description: str, *labels: str, nullable: bool = False) -> MetricSpec:
    return MetricSpec(f"collectors.clv.{name}", Kind.GAUGE, unit, description, labels, nullable=nullable)


CUSTOMERS = _gauge("customers", Unit.USERS, "Customers who bought once, or came back.", "currency", "state")
ALIVE = _gauge(
    "customers_alive", Unit.USERS, "How many customers are expected to be such still.", "currency", nullable=True
)
PARAMETER = _gauge(
    "parameter", Unit.RATIO, "Estimated parameter of a model; time in days.", "currency", "model", "parameter",
    nullable=True,
)  # fmt: skip
ERROR = _gauge(
    "parameter_error", Unit.RATIO, "Standard error of a model's parameter.", "currency", "model", "parameter",
    nullable=True,
)  # fmt: skip
LIKELIHOOD = _gauge(
    "log_likelihood", Unit.RATIO, "Log-likelihood of a model at its maximum.", "currency", "model", nullable=True
)
CORRELATION = _gauge(
    "spend_correlation", Unit.RATIO, "Correlation of spend and frequency among customers who came back.", "currency",
    nullable=True,
)  # fmt: skip
PURCHASES = _gauge(
    "expected_purchases", Unit.EVENTS, "Discounted purchases to come, by month of the first purchase.",
    "currency", "cohort", "bound", nullable=True,
)  # fmt: skip
VALUE = _gauge(
    "expected_value", Unit.MINOR_UNITS, "Discounted spend to come, by month of the first purchase.",
    "currency", "cohort", "bound", nullable=True,
)  # fmt: skip
CUSTOMER_VALUE = _gauge(
    "customer_value", Unit.MINOR_UNITS, "Quantiles over customers of the discounted spend to come.",
    "currency", "quantile", nullable=True,
)  # fmt: skip
HOLDOUT_ERROR = _gauge(
    "holdout_error", Unit.RATIO, "Foretold over actual purchases since the split, less 1.", "currency", nullable=True
)
HOLDOUT = _gauge(
    "holdout_purchases", Unit.EVENTS, "Mean purchases since the split, by repeat purchases before it (7: or more).",
    "currency", "repeats", "series", nullable=True,
)  # fmt: skip
TRACKING = _gauge(
    "cumulative_repeats", Unit.EVENTS, "All repeat purchases until the end of a week, actual and as foretold.",
    "currency", "weeks_ago", "series", nullable=True,
)  # fmt: skip
SUBSCRIPTIONS = _gauge("subscriptions", Unit.COUNT, "Subscriptions by signup month.", "interval", "cohort", "state")
CONTRACT_PARAMETER = _gauge(
    "subscription_parameter", Unit.RATIO, "Estimated parameter of the renewal model.", "interval", "cohort",
    "parameter", nullable=True,
)  # fmt: skip
CONTRACT_ERROR = _gauge(
    "subscription_parameter_error", Unit.RATIO, "Standard error of the renewal model's parameter.", "interval",
    "cohort", "parameter", nullable=True,
)  # fmt: skip
RETENTION = _gauge(
    "next_renewal", Unit.RATIO, "Expected share of active subscriptions that renew when next due.", "interval",
    "cohort", nullable=True,
)  # fmt: skip
REMAINING = _gauge(
    "remaining_periods", Unit.RATIO, "Discounted renewals to come per active subscription.", "interval", "cohort",
    "bound", nullable=True,
)  # fmt: skip
CONTRACT_VALUE = _gauge(
    "subscription_value", Unit.MINOR_UNITS, "Discounted price of the renewals to come.", "interval", "cohort",
    "currency", "bound", nullable=True,
)  # fmt: skip
SURVIVAL = _gauge(
    "survival", Unit.RATIO, "Share of subscriptions left after so many renewals.", "interval", "renewals", "series",
    nullable=True,
)  # fmt: skip
CONTRACT_HOLDOUT = _gauge(
    "subscription_holdout_error", Unit.RATIO, "Foretold over actual subscriptions left since the split, less 1.",
    "interval", nullable=True,
)  # fmt: skip

EMITS = (
    CUSTOMERS, ALIVE, PARAMETER, ERROR, LIKELIHOOD, CORRELATION, PURCHASES, VALUE, CUSTOMER_VALUE, HOLDOUT_ERROR,
    HOLDOUT, TRACKING, SUBSCRIPTIONS, CONTRACT_PARAMETER, CONTRACT_ERROR, RETENTION, REMAINING, CONTRACT_VALUE,
    SURVIVAL, CONTRACT_HOLDOUT,
)  # fmt: skip


def sample(spec: MetricSpec, value: float | Refusal, *labels: str) -> Sample:
    """Return a sample of ``value``, without one and with the reason if it is a refusal."""
    if isinstance(value, Refusal):
        return Sample(spec.name, None, labels, reason=str(value))
    return Sample(spec.name, value, labels)


def bounds(spec: MetricSpec, interval: Interval | Refusal, *labels: str) -> list[Sample]:
    """Return the samples of an estimate and of the bounds of its interval, the last label being which of these."""
    if isinstance(interval, Refusal):
        return [sample(spec, interval, *labels, bound) for bound in BOUNDS]
    return [sample(spec, getattr(interval, bound), *labels, bound) for bound in BOUNDS]


def parameters(
    spec: MetricSpec, error: MetricSpec, names: tuple[str, ...], estimate: Estimate | Refusal, *labels: str
) -> list[Sample]:
    """Return the samples of a model's parameters and of their standard errors."""
    if isinstance(estimate, Refusal):
        return [sample(s, estimate, *labels, name) for name in names for s in (spec, error)]
    errors = estimate.standard_errors.tolist()
    found = zip(names, estimate.values.tolist(), errors, strict=True)
    return [
        one
        for name, value, se in found
        for one in (sample(spec, value, *labels, name), sample(error, se, *labels, name))
    ]
