"""From numbers by currency to samples, converted where rates are declared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction

from collectors.analytics.local_days import local_day
from collectors.analytics.money import Ints, Rates, Undefined
from collectors.analytics.reconciliation import OUTCOMES, Reconciliation
from collectors.analytics.revenue import Change, Figures
from collectors.catalog.business.revenue import metrics as m
from collectors.catalog.business.revenue.queries import Calendar
from collectors.model.metric import MetricSpec, Sample

Number = int | float | Fraction


@dataclass(frozen=True)
class Reporter:
    """Writes samples: by currency as they are, and in the reporting currency ``to`` at the declared rates."""

    calendar: Calendar
    currencies: Sequence[str]
    to: str
    rates: Rates

    def mrr(self, months: Sequence[Change], year: Change) -> Iterator[Sample]:
        """Report MRR, its movements month by month and the rates that follow; ``months`` are the oldest first."""
        now = months[-1]
        for number, code in enumerate(self.currencies):
            mrr = now.within(number).end
            yield Sample(m.MRR.name, round(mrr), (code,))
            yield Sample(m.ARR.name, round(12 * mrr), (code,))
        current = self._at_rates_of(now, len(months))
        paying = now.customers.end
        if isinstance(current, Undefined):
            for spec in (m.MRR_CONVERTED, m.ARR_CONVERTED, m.ARPA):
                yield _undefined(spec, current.reason, self.to)
        else:
            yield Sample(m.MRR_CONVERTED.name, round(current.end), (self.to,))
            yield Sample(m.ARR_CONVERTED.name, round(12 * current.end), (self.to,))
            yield _quotient(m.ARPA, current.end, paying, "no customer has MRR", self.to)
        for at, change in enumerate(months):
            converted = change.converted(self._factors(at), self._factors(at + 1))
            yield from self._movements(change, converted, self._ago(at))
        periods = ((now, len(months)), (months[-2], len(months) - 1), (year, len(months) - 1))
        for period, (change, end) in zip(m.RATE_PERIODS, periods, strict=True):
            yield from _rates(change, self._at_rates_of(change, end), period)

    def _movements(self, change: Change, converted: Figures | Undefined, ago: str) -> Iterator[Sample]:
        for number, code in enumerate(self.currencies):
            rows = change.within(number).rows()
            yield from (Sample(m.MOVED.name, rows[row], (code, ago, row)) for row in m.MRR_ROWS)
        if isinstance(converted, Undefined):
            reason = converted.reason
            yield from (_undefined(m.MOVED_CONVERTED, reason, self.to, ago, row) for row in m.CONVERTED_ROWS)
        else:
            rows = converted.rows()
            yield from (Sample(m.MOVED_CONVERTED.name, rows[row], (self.to, ago, row)) for row in m.CONVERTED_ROWS)
        who = change.customers
        for move, count in zip(
            m.CUSTOMER_MOVES, (who.start, who.new, who.reactivated, who.churned, who.end), strict=True
        ):
            yield Sample(m.CUSTOMERS.name, count, (ago, move))

    def _ago(self, month: int) -> str:
        return str(self.calendar.months - month)

    def _at_rates_of(self, change: Change, instant: int) -> Figures | Undefined:
        """Convert all of a change at the rates of the day that one of the calendar's instants ends."""
        factors = self._factors(instant)
        return change.converted(factors, factors)

    def _factors(self, instant: int) -> list[Fraction | Undefined]:
        day = local_day(self.calendar.instants[instant] - 1, self.calendar.zone)
        return [self.rates.factor(code, self.to, day) for code in self.currencies]

    def payments(self, sums: Mapping[tuple[date, str, str], int]) -> Iterator[Sample]:
        """Report payments by month, currency and kind."""
        for at, month in enumerate(self.calendar.starts):
            for code in self.currencies:
                amounts = {kind: sums.get((month, code, kind), 0) for kind in m.PAYMENT_KINDS}
                for kind, amount in amounts.items():
                    yield Sample(m.PAYMENTS.name, amount, (code, self._ago(at), kind))
                net = sum(sign * amounts[kind] for kind, sign in m.PAYMENT_KINDS.items())
                yield Sample(m.NET.name, net, (code, self._ago(at)))

    def recognised(self, earned: Ints, deferred: Ints) -> Iterator[Sample]:
        """Report recognised revenue, shape (months, currencies), and what is deferred, by currency."""
        for at, month in enumerate(earned.tolist()):
            for code, amount in zip(self.currencies, month, strict=True):
                yield Sample(m.RECOGNISED.name, amount, (code, self._ago(at)))
            total = self._income(earned, at)
            labels = (self.to, self._ago(at))
            if isinstance(total, Undefined):
                yield _undefined(m.RECOGNISED_CONVERTED, total.reason, *labels)
            else:
                yield Sample(m.RECOGNISED_CONVERTED.name, round(total), labels)
        for code, amount in zip(self.currencies, deferred.tolist(), strict=True):
            yield Sample(m.DEFERRED.name, amount, (code,))

    def _income(self, by_month: Ints, month: int) -> Fraction | Undefined:
        """Convert a month's income at the mean of the rates of its days."""
        total = Fraction(0)
        for code, amount in zip(self.currencies, by_month[month].tolist(), strict=True):
            if not amount:
                continue
            factor = self.rates.mean_factor(code, self.to, self.calendar.days(month))
            if isinstance(factor, Undefined):
                return factor
            total += amount * factor
        return total

    def per_user(
        self, earned: Ints, net: Ints, subscribers: Mapping[str, Fraction], payers: Mapping[str, int]
    ) -> Iterator[Sample]:
        """Report ARPU and ARPPU; ``earned`` and ``net`` have shape (months, currencies)."""
        for period, n in m.USER_PERIODS.items():
            yield Sample(m.SUBSCRIBERS.name, float(subscribers[period]), (period,))
            labels = (self.to, period)
            for spec, income, by in (
                (m.ARPU, earned, subscribers[period] * n),
                (m.ARPPU, net, Fraction(payers[period])),
            ):
                total = self._total(income, n)
                if isinstance(total, Undefined):
                    yield _undefined(spec, total.reason, *labels)
                else:
                    yield _quotient(spec, total, by, "no customer paid in this period", *labels)

    def _total(self, by_month: Ints, n: int) -> Fraction | Undefined:
        total = Fraction(0)
        for month in range(self.calendar.months - n, self.calendar.months):
            income = self._income(by_month, month)
            if isinstance(income, Undefined):
                return income
            total += income
        return total

    def reconciliation(self, found: Reconciliation) -> Iterator[Sample]:
        for row, outcome in enumerate(OUTCOMES):
            for at, code in enumerate(self.currencies):
                yield Sample(m.RECONCILED.name, int(found.accounts[row, at]), (code, outcome))
                yield Sample(m.DIFFERENCE.name, int(found.difference[row, at]), (code, outcome))


_RATES: tuple[tuple[MetricSpec, Callable[[Figures], Fraction], Callable[[Figures], Fraction], str], ...] = (
    (m.QUICK_RATIO, lambda f: f.gained, lambda f: f.lost, "nothing was lost in this period"),
    (m.GROSS_CHURN, lambda f: f.lost, lambda f: f.cohort, "there was no MRR at the start"),
    (m.NET_CHURN, lambda f: f.lost - f.regained, lambda f: f.cohort, "there was no MRR at the start"),
    (m.NRR, lambda f: f.retained, lambda f: f.cohort, "there was no MRR at the start"),
    (m.GRR, lambda f: f.kept, lambda f: f.cohort, "there was no MRR at the start"),
)


def _rates(change: Change, figures: Figures | Undefined, period: str) -> Iterator[Sample]:
    who = change.customers
    yield _quotient(m.LOGO_CHURN, who.churned, who.start, "there was no customer at the start", period)
    for spec, part, whole, undefined in _RATES:
        if isinstance(figures, Undefined):
            yield _undefined(spec, figures.reason, period)
        else:
            yield _quotient(spec, part(figures), whole(figures), undefined, period)


def _quotient(spec: MetricSpec, part: Number, whole: Number, undefined: str, *labels: str) -> Sample:
    if not whole:
        return _undefined(spec, undefined, *labels)
    return Sample(spec.name, float(Fraction(part) / Fraction(whole)), labels)


def _undefined(spec: MetricSpec, reason: str, *labels: str) -> Sample:
    return Sample(spec.name, None, labels, reason=reason)
