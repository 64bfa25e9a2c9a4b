"""Samples of the subscriptions of one billing interval."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from collectors.analytics.clv import sbg
from collectors.analytics.clv.contracts import DAYS_A_YEAR, NEVER, Contracts, period_days
from collectors.analytics.clv.fit import Floats, Interval
from collectors.analytics.clv.sbg import Sbg
from collectors.analytics.clv.valuation import Horizon
from collectors.analytics.refusal import Reason, Refusal
from collectors.catalog.business.lifetime import metrics
from collectors.catalog.business.lifetime.a_la_carte import ints, name_months
from collectors.catalog.business.lifetime.metrics import ALL, bounds, parameters, sample
from collectors.model.metric import Sample

Ints = npt.NDArray[np.int64]
CURVE = 24
NO_CURRENCY = "XXX"


class Subscriptions:
    """The contracts of one billing interval as of the end of ``day``, valued over ``horizon`` days.

    ``annual_rate`` is the discount of a year. Prices in other currencies than ``currencies`` are left out.
    """

    def __init__(
        self,
        interval: str,
        table: pa.Table,
        day: int,
        horizon: Horizon,
        annual_rate: float,
        currencies: Collection[str],
    ) -> None:
        self._interval, self._day, self._reach = interval, day, horizon.reach
        self._contracts = Contracts(interval, ints(table, "start"), ints(table, "end", int(NEVER)))
        self._price = np.maximum(ints(table, "price"), 0)
        self._currencies, self._currency = _codes(priced_in(table).to_pylist())
        self._priced = np.isin(self._currency, [n for n, name in enumerate(self._currencies) if name in currencies])
        length = period_days(interval)
        self._periods = max(1, round(horizon.length / length))
        self._rate = float(np.expm1(np.log1p(annual_rate) * length / DAYS_A_YEAR))
        self._due = self._contracts.due(day)
        self._active = self._contracts.end == NEVER
        self._leaving = ~self._active & (self._contracts.left_at() > self._due)

    def samples(self, cohorts: int) -> Iterator[Sample]:
        """Return counts, the renewal model and the value of each of the last ``cohorts`` months, and of all."""
        everything = np.ones(len(self._due), dtype=np.bool_)
        yield from self._cohort(ALL, everything)
        months = self._contracts.start.astype("M8[D]").astype("M8[M]").astype(np.int64)
        names, number = name_months(months, cohorts, self._day)
        for at, name in enumerate(names):
            yield from self._cohort(name, number == at)
        yield from self._curve()

    def _cohort(self, cohort: str, members: npt.NDArray[np.bool_]) -> Iterator[Sample]:
        labels = (self._interval, cohort)
        active = members & self._active
        counts = {"started": members, "active": active, "leaving": members & self._leaving}
        for state, who in counts.items():
            yield sample(metrics.SUBSCRIPTIONS, int(who.sum()), *labels, state)
        model = sbg.fit(self._contracts.choose(members).renewals(self._day))
        estimate = model if isinstance(model, Refusal) else model.estimate
        yield from parameters(metrics.CONTRACT_PARAMETER, metrics.CONTRACT_ERROR, sbg.NAMES, estimate, *labels)
        if not isinstance(model, Refusal) and not active.any():
            model = Refusal(Reason.NO_SUBJECTS, "no subscription is active")
        if isinstance(model, Refusal):
            yield sample(metrics.RETENTION, model, *labels)
        else:
            yield sample(metrics.RETENTION, float(model.retention(self._due[active] + 1).mean()), *labels)
        yield from self._worth(labels, model, active)

    def _worth(self, labels: tuple[str, str], model: Sbg | Refusal, active: npt.NDArray[np.bool_]) -> Iterator[Sample]:
        priced = active & self._priced
        currencies = np.unique(self._currency[priced])
        names = [self._currencies[code] for code in currencies.tolist()]
        if not active.any():
            names = [NO_CURRENCY]
        found: Sequence[Interval | Refusal]
        if isinstance(model, Refusal):
            found = [model] * (1 + len(names))
        elif refusal := self._too_far(model):
            found = [refusal] * (1 + len(names))
        else:
            ages, index = np.unique(self._due[active] + 1, return_inverse=True)
            weights = np.zeros((1 + len(names), len(ages)))
            weights[0] = np.bincount(index) / len(index)
            rows = 1 + np.searchsorted(currencies, self._currency[priced])
            np.add.at(weights, (rows, index[priced[active]]), self._price[priced])
            found = model.estimate.total_interval(lambda theta: weights @ self._residual(theta, ages))
        remaining, *values = found
        yield from bounds(metrics.REMAINING, remaining, *labels)
        for name, interval in zip(names, values, strict=True):
            yield from bounds(metrics.CONTRACT_VALUE, interval, *labels, name)

    def _residual(self, theta: Floats, ages: Ints) -> Floats:
        return sbg.residual(theta, ages, self._rate, self._periods)

    def _too_far(self, model: Sbg) -> Refusal | None:
        return Horizon(self._periods, reach=self._reach).refusal(model.ages)

    def _curve(self) -> Iterator[Sample]:
        """Compare the share left after each renewal with the product of the renewal rates that were observed."""
        renewals = self._contracts.renewals(self._day)
        model = sbg.fit(renewals)
        reached = min(CURVE, int((renewals.due > 0).sum()))
        actual = np.cumprod(1 - renewals.left[:reached] / np.maximum(renewals.due[:reached], 1))
        ahead = reached if isinstance(model, Refusal) else min(CURVE, int(reached * (1 + self._reach)))
        fitted = [model] * ahead if isinstance(model, Refusal) else model.survival(ahead)[1:].tolist()
        early = Refusal(Reason.NO_SUBJECTS, "this renewal has not come due for anybody")
        if not reached:
            yield sample(metrics.SURVIVAL, early, self._interval, "1", "actual")
        for number in range(ahead):
            labels = (self._interval, str(number + 1))
            yield sample(metrics.SURVIVAL, float(actual[number]) if number < reached else early, *labels, "actual")
            yield sample(metrics.SURVIVAL, fitted[number], *labels, "expected")

    def foretold(self, split: int) -> Iterator[Sample]:
        """Compare how many are left of the subscriptions of the day ``split`` with what was to be expected then."""
        yield sample(metrics.CONTRACT_HOLDOUT, self._foretold(split), self._interval)

    def _foretold(self, split: int) -> float | Refusal:
        contracts = self._contracts.choose(self._contracts.start <= split)
        before, now, left_at = contracts.due(split), contracts.due(self._day), contracts.left_at()
        there = left_at > before
        model = sbg.fit(contracts.renewals(split))
        if isinstance(model, Refusal):
            return model
        actual = int((there & (left_at > now)).sum())
        if not actual:
            return Refusal(Reason.NO_SUBJECTS, "nobody is left of those before the split")
        left = model.survival(int(now.max()))
        return float((left[now[there]] / left[before[there]]).sum()) / actual - 1


def priced_in(table: pa.Table) -> pa.ChunkedArray:
    """Return the currency of each subscription's price, ``NO_CURRENCY`` where there is none."""
    return table.column("currency").fill_null(NO_CURRENCY)


def _codes(words: list[str]) -> tuple[list[str], Ints]:
    """Return the distinct words in order, and the number of each."""
    distinct, index = np.unique(np.array(words, dtype=np.str_), return_inverse=True)
    return distinct.tolist(), index.astype(np.int64)
