"""Samples of one currency's customers who buy whenever they like."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from collectors.analytics.clv import tracking, valuation
from collectors.analytics.clv.gamma_gamma import NAMES as SPEND_NAMES
from collectors.analytics.clv.gamma_gamma import GammaGamma, correlation
from collectors.analytics.clv.history import Histories, histories
from collectors.analytics.clv.rfm import Summary
from collectors.analytics.clv.valuation import Horizon, PurchaseModel, Valuation
from collectors.analytics.refusal import Reason, Refusal
from collectors.catalog.business.lifetime import metrics
from collectors.catalog.business.lifetime.metrics import ALL, bounds, parameters, sample
from collectors.model.metric import Sample

Ints = npt.NDArray[np.int64]
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.99)
WEEKS = 26
MANY = 7  # repeat purchases from which customers are put together
SPEND = "gamma_gamma"


def ints(table: pa.Table, column: str, missing: int = 0) -> Ints:
    """Return a column as int64, nulls as ``missing``."""
    return np.asarray(table.column(column).cast(pa.int64()).fill_null(missing).to_numpy())


def summary(table: pa.Table, end: int) -> Summary:
    """Return the customers of the query as of ``end``."""
    first, last, repeats, minor = (ints(table, name) for name in ("first", "last", "repeats", "repeat_minor"))
    return Summary(end, first, last, repeats, minor)


class ALaCarte:
    """One currency's customers, the models of their purchases and spend, and what follows.

    ``fit`` estimates the configured purchase model, whose parameters are ``names``.
    """

    def __init__(
        self,
        currency: str,
        customers: Summary,
        fit: Callable[[Histories], PurchaseModel | Refusal],
        model: tuple[str, tuple[str, ...]],
        horizon: Horizon,
        strongest_correlation: float,
    ) -> None:
        self._currency, self._customers, self._fit = currency, customers, fit
        self._name, self._names = model
        self.model = fit(customers.rows)
        self.spend: GammaGamma | Refusal = valuation.fit_spend(customers, strongest_correlation)
        self.valuation: Valuation | Refusal
        if isinstance(self.model, Refusal):
            self.valuation = self.model
        else:
            self.valuation = valuation.value(customers, self.model, self.spend, horizon)

    def samples(self, cohorts: int) -> Iterator[Sample]:
        """Return what is known of the customers: counts, models, and what is to come of each of ``cohorts`` months."""
        customers, currency = self._customers, self._currency
        came_back = int((customers.repeats > 0).sum())
        yield sample(metrics.CUSTOMERS, len(customers.first) - came_back, currency, "once")
        yield sample(metrics.CUSTOMERS, came_back, currency, "repeat")
        related = correlation(customers.repeats, customers.mean_spend)
        unrelated = Refusal(Reason.CONSTANT, "spend or frequency does not vary among customers who came back")
        yield sample(metrics.CORRELATION, unrelated if related is None else related, currency)
        models = ((self._name, self._names, self.model), (SPEND, SPEND_NAMES, self.spend))
        for name, names, model in models:
            estimate = model if isinstance(model, Refusal) else model.estimate
            yield from parameters(metrics.PARAMETER, metrics.ERROR, names, estimate, currency, name)
            value = estimate if isinstance(estimate, Refusal) else estimate.log_likelihood
            yield sample(metrics.LIKELIHOOD, value, currency, name)
        rows = customers.rows
        alive = self.model if isinstance(self.model, Refusal) else float(rows.count @ self.model.alive(rows))
        yield sample(metrics.ALIVE, alive, currency)
        yield from self._to_come(cohorts)

    def _to_come(self, cohorts: int) -> Iterator[Sample]:
        valued, currency = self.valuation, self._currency
        if isinstance(valued, Refusal):
            yield from bounds(metrics.PURCHASES, valued, currency, ALL)
            yield from self._no_value(valued)
            return
        names, group = self._cohorts(cohorts)
        for name, total in zip((ALL, *names), valued.purchase_totals(group, len(names)), strict=True):
            yield from bounds(metrics.PURCHASES, total, currency, name)
        values, each = valued.value_totals(group, len(names)), valued.value
        if isinstance(values, Refusal) or isinstance(each, Refusal):
            yield from self._no_value(next(r for r in (values, each) if isinstance(r, Refusal)))
            return
        for name, total in zip((ALL, *names), values, strict=True):
            yield from bounds(metrics.VALUE, total, currency, name)
        for q, value in zip(QUANTILES, np.quantile(each, QUANTILES).tolist(), strict=True):
            yield sample(metrics.CUSTOMER_VALUE, value, currency, f"{q:g}")

    def _no_value(self, reason: Refusal) -> Iterator[Sample]:
        yield from bounds(metrics.VALUE, reason, self._currency, ALL)
        yield from (sample(metrics.CUSTOMER_VALUE, reason, self._currency, f"{q:g}") for q in QUANTILES)

    def _cohorts(self, cohorts: int) -> tuple[list[str], Ints]:
        """Return the names of the months of first purchase, oldest first, and the number of each row's."""
        rows = self._customers.rows
        months = (self._customers.end - rows.age.astype(np.int64)).astype("M8[D]").astype("M8[M]").astype(np.int64)
        return name_months(months, cohorts, self._customers.end)

    def foretold(self, table: pa.Table, occasions: pa.Table, split: int) -> Iterator[Sample]:
        """Compare what the model, fitted up to the day ``split``, says of the time since with what happened."""
        currency, end = self._currency, self._customers.end
        known = ints(table, "split_repeats") >= 0
        first, repeats = self._customers.first[known], ints(table, "split_repeats")[known]
        recency = ints(table, "split_last")[known] - first
        before = histories(repeats, recency, split - first)
        model: PurchaseModel | Refusal = self._fit(before)
        if not isinstance(model, Refusal) and end - split > before.age.max():
            model = Refusal(Reason.EXTRAPOLATION, "the history before the split is shorter than the time since")
        bought = self._customers.repeats[known] - repeats
        days = end - 7 * np.arange(WEEKS - 1, -1, -1)
        actual = tracking.actual_cumulative(
            ints(occasions, "day"), ints(occasions, "occasions"), self._customers.first, days
        )
        if isinstance(model, Refusal):
            yield sample(metrics.HOLDOUT_ERROR, model, currency)
            yield sample(metrics.HOLDOUT, model, currency, ALL, "expected")
            weeks: Sequence[float | Refusal] = [model] * WEEKS
        else:
            total = float(before.count @ model.predict(model.estimate.values, before, end - split))
            nothing = Refusal(Reason.NO_EVENTS, "nobody bought again since the split")
            yield sample(metrics.HOLDOUT_ERROR, total / int(bought.sum()) - 1 if bought.any() else nothing, currency)
            compared = tracking.by_frequency(model, before, end - split, bought, MANY)
            for x in np.flatnonzero(compared.customers).tolist():
                yield sample(metrics.HOLDOUT, float(compared.expected[x]), currency, str(x), "expected")
                yield sample(metrics.HOLDOUT, float(compared.actual[x]), currency, str(x), "actual")
            weeks = tracking.cumulative(model, self._customers.first, days).tolist()
        for ago, expected, happened in zip(range(WEEKS - 1, -1, -1), weeks, actual.tolist(), strict=True):
            yield sample(metrics.TRACKING, expected, currency, str(ago), "expected")
            yield sample(metrics.TRACKING, happened, currency, str(ago), "actual")


def name_months(months: Ints, cohorts: int, end: int) -> tuple[list[str], Ints]:
    """Return the names of the last ``cohorts`` months that occur, oldest first, and the number of each element's.

    Months are counted from January 1970; those before the last ``cohorts`` up to that of day ``end`` are ``earlier``.
    """
    oldest = int(np.array(end, dtype="M8[D]").astype("M8[M]").astype(np.int64)) - cohorts + 1
    distinct, index = np.unique(np.maximum(months, oldest - 1), return_inverse=True)
    names = [str(np.array(m, dtype="M8[M]")) if m >= oldest else "earlier" for m in distinct.tolist()]
    return names, index.astype(np.int64)
