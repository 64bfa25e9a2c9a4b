"""Recurring revenue, its movements, what was paid and what of it was earned: exact to the minor unit.

Definitions, formulas and sources are with the kernels: ``analytics.recurring`` (MRR and its conventions),
``analytics.revenue`` (movements and rates), ``analytics.recognition`` and ``analytics.reconciliation``. Here is said
what they are applied to.

    * Months are calendar months of the tenant's time zone, ``months_ago`` 0 is the one that is not over. Every run
      computes all of them anew, so an event that comes late corrects the month it belongs to.
    * Payments count when they happened, refunds, chargebacks and won disputes on their own day; failed and pending
      ones, taxes and fees are no revenue. Charges are earned over the local days of their service period, or on
      their own day if they name none.
    * Currencies are never added up unconverted. MRR is converted at the rates of the last day before the instant,
      income at the mean of the rates of its month's days. Without a declared rate there is no value, but a reason.
    * ARPU is of the last whole months: recognised revenue / average daily paying customers / months. ARPPU is what
      was paid, net, per customer who paid in the period.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date, timedelta
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from collectors.analytics.local_days import day_start, utc
from collectors.analytics.money import EXPONENTS, Codes, Ints, Rates, rescale
from collectors.analytics.recognition import recognised
from collectors.analytics.reconciliation import Paid, reconcile
from collectors.analytics.recurring import (
    CONVENTIONS,
    LARGEST_AMOUNT,
    UNKNOWN,
    Actions,
    Convention,
    Recurring,
    recurring,
)
from collectors.analytics.revenue import average_payers, changes
from collectors.catalog.business.revenue import queries
from collectors.catalog.business.revenue.config import RevenueMetricsConfig
from collectors.catalog.business.revenue.examples import examples
from collectors.catalog.business.revenue.metrics import EMITS, PAYMENT_KINDS, USER_PERIODS
from collectors.catalog.business.revenue.queries import Calendar
from collectors.catalog.business.revenue.report import Reporter
from collectors.contract.collector import Analytical
from collectors.contract.example import Example
from collectors.model.metric import Collection, Issue, Window

if TYPE_CHECKING:
    import ibis.expr.types as ir

MAX_CURRENCIES = 32
_EPOCH = date(1970, 1, 1)


class RevenueMetricsCollector(Analytical[RevenueMetricsConfig]):
    """Report recurring revenue and its movements, retention, payments, recognised revenue and their reconciliation."""

    name = "revenue_metrics"
    Config = RevenueMetricsConfig
    emits = EMITS

    @classmethod
    def examples(cls) -> Iterable[Example]:
        return examples()

    def queries(self, window: Window) -> Mapping[str, ir.Table]:
        calendar, decimals = self._calendar(window), self.config.decimals
        announced = self._convention().ended == "announced"
        return {
            "subscriptions": queries.subscriptions(calendar, decimals, ended_when_announced=announced),
            "payments": queries.payments(calendar, decimals),
            "payers": queries.payers(calendar, decimals),
            "service": queries.service(calendar, decimals),
            "covering": queries.covering(calendar, decimals),
        }

    def derive(self, results: Mapping[str, pa.Table], window: Window) -> Collection:
        calendar = self._calendar(window)
        currencies, issues = _currencies(results)
        books = _Books(results, currencies)
        to = self.config.reporting_currency or self.context.tenant.currency
        exchange = self.config.exchange
        rates = Rates(exchange.source, exchange.rates, exchange.pivot, exchange.valid_days)
        reporter = Reporter(calendar, currencies, to, rates)

        history = books.history(self._convention())
        months = [(at, at + 1) for at in range(calendar.months + 1)]
        year = (calendar.months - 12, calendar.months)
        moved = changes(history, np.array(calendar.instants), {*months, year})
        sums = books.payments()
        net = _by_month(sums, calendar, currencies, PAYMENT_KINDS)
        earned, deferred = books.earned(calendar)
        earned += _by_month(sums, calendar, currencies, {**PAYMENT_KINDS, "charge": 0})
        payers = results["payers"].to_pylist()[0]
        samples = (
            *reporter.mrr([moved[span] for span in months], moved[year]),
            *reporter.payments(sums),
            *reporter.recognised(earned, deferred),
            *reporter.per_user(earned, net, _subscribers(history, calendar), payers),
            *reporter.reconciliation(reconcile(history, books.covering(), calendar.end_us)),
        )
        if history.unpriced:
            message = (
                f"{history.unpriced} actions on subscriptions tell no usable price, currency or interval and count as "
                "free; check their source"
            )
            issues = (*issues, Issue("unpriced", message))
        return Collection(samples=samples, issues=issues)

    def _calendar(self, window: Window) -> Calendar:
        return Calendar(window.end_us, self.context.tenant.time_zone, self.config.months)

    def _convention(self) -> Convention:
        convention = CONVENTIONS[self.config.convention]
        return replace(
            convention,
            discounts=self.config.discounts or convention.discounts,
            ended=self.config.ended or convention.ended,
        )


class _Books:
    """The results of the queries as arrays, with codes for customers and currencies that all of them share."""

    def __init__(self, results: Mapping[str, pa.Table], currencies: list[str]) -> None:
        self._results = results
        self._currencies = pa.array(currencies, pa.string())
        actions, covering = results["subscriptions"], results["covering"]
        self._covering = covering.filter(self._is_known(covering))
        ids = pa.chunked_array([*actions["customer_id"].chunks, *self._covering["customer_id"].chunks], pa.binary())
        coded = ids.combine_chunks().dictionary_encode()
        self._customers = len(coded.dictionary)
        codes = coded.indices.to_numpy().astype(np.int64)
        self._acting, self._paying = codes[: len(actions)], codes[len(actions) :]

    def history(self, convention: Convention) -> Recurring:
        """Return what recurs."""
        rows = self._results["subscriptions"]
        subscription = rows["subscription_id"].combine_chunks()
        actions = Actions(
            subscription=subscription.dictionary_encode().indices.to_numpy().astype(np.int64),
            customer=self._acting,
            action=_numbers(rows, "action"),
            amount=_numbers(rows, "amount"),
            discount=_numbers(rows, "discount"),
            decimals=_numbers(rows, "digits"),
            currency=self._currency(rows),
            interval=_numbers(rows, "interval"),
            effective=_micros(rows, "effective"),
            recorded=_micros(rows, "recorded"),
        )
        return recurring(actions, convention, self._customers, len(self._currencies))

    def payments(self) -> dict[tuple[date, str, str], int]:
        """Return sums of payments by first day of the month, currency and kind."""
        rows = self._results["payments"]
        amounts = rescale(_numbers(rows, "amount").astype(np.int64), _numbers(rows, "digits"))
        sums: dict[tuple[date, str, str], int] = {}
        keys = zip(rows["month"].to_pylist(), rows["currency"].to_pylist(), rows["kind"].to_pylist(), strict=True)
        for key, amount in zip(keys, amounts.tolist(), strict=True):
            sums[key] = sums.get(key, 0) + amount
        return sums

    def earned(self, calendar: Calendar) -> tuple[Ints, Ints]:
        """Return what days of service earned, shape (months, currencies), and what is still to be earned."""
        rows = self._results["service"]
        rows = rows.filter(pc.and_(self._is_known(rows), pc.less_equal(rows["amount"], LARGEST_AMOUNT)))
        amount = rescale(_numbers(rows, "amount"), _numbers(rows, "digits"))
        first, end = _numbers(rows, "first"), _numbers(rows, "end")
        end = np.maximum(end, first + 1)
        edges = np.array([(day - _EPOCH).days for day in calendar.edges])
        charges, currency = _numbers(rows, "charges"), self._currency(rows)
        by_edge = np.zeros((len(edges) + 1, len(self._currencies)), dtype=np.int64)
        for total, part in zip(by_edge, [*recognised(amount, first, end, edges), amount], strict=True):
            np.add.at(total, currency, part * charges)
        return np.diff(by_edge[:-1], axis=0), by_edge[-1] - by_edge[-2]

    def covering(self) -> Paid:
        """Return what was paid for service periods that hold the end of the window."""
        rows = self._covering
        return Paid(
            customer=self._paying,
            currency=self._currency(rows),
            amount=rescale(_numbers(rows, "amount"), _numbers(rows, "digits")),
            start=_micros(rows, "start"),
            end=_micros(rows, "end"),
        )

    def _currency(self, rows: pa.Table) -> Codes:
        place = pc.index_in(rows["currency"], value_set=self._currencies)
        return np.asarray(place.fill_null(UNKNOWN).to_numpy().astype(np.int8))

    def _is_known(self, rows: pa.Table) -> pa.ChunkedArray:
        return pc.is_in(rows["currency"], value_set=self._currencies)


def _currencies(results: Mapping[str, pa.Table]) -> tuple[list[str], tuple[Issue, ...]]:
    """Return the currencies that occur, the most frequent ones if there are too many, and what is wrong with them."""
    counts: dict[str, int] = {}
    for name in ("subscriptions", "payments", "service", "covering"):
        for row in results[name]["currency"].value_counts().to_pylist():
            if row["values"]:
                counts[row["values"]] = counts.get(row["values"], 0) + row["counts"]
    known = sorted((code for code in counts if code in EXPONENTS), key=lambda code: (-counts[code], code))
    issues = []
    if len(known) < len(counts):
        message = "amounts in currencies that ISO 4217 does not have, or has no minor unit for, are left out"
        issues.append(Issue("unknown_currency", message))
    if len(known) > MAX_CURRENCIES:
        message = f"only the {MAX_CURRENCIES} most frequent currencies are reported; check the sources"
        issues.append(Issue("too_many_currencies", message))
    return sorted(known[:MAX_CURRENCIES]), tuple(issues)


def _by_month(
    sums: Mapping[tuple[date, str, str], int], calendar: Calendar, currencies: list[str], signs: Mapping[str, int]
) -> Ints:
    """Add up payments with the signs of their kinds: shape (months, currencies)."""
    totals = np.zeros((len(calendar.starts), len(currencies)), dtype=np.int64)
    for at, month in enumerate(calendar.starts):
        for number, code in enumerate(currencies):
            totals[at, number] = sum(sign * sums.get((month, code, kind), 0) for kind, sign in signs.items())
    return totals


def _subscribers(history: Recurring, calendar: Calendar) -> dict[str, Fraction]:
    """Return the average daily paying customers of each period."""
    end = calendar.starts[-1]
    found = {}
    for period, n in USER_PERIODS.items():
        start = calendar.starts[-1 - n]
        ends = [day_start(start + timedelta(days=d + 1), calendar.zone) for d in range((end - start).days)]
        found[period] = average_payers(history, np.array([(e - utc(0)) // timedelta(microseconds=1) for e in ends]))
    return found


def _numbers(rows: pa.Table, name: str) -> Ints:
    return np.asarray(rows[name].to_numpy())


def _micros(rows: pa.Table, name: str) -> Ints:
    return _numbers(pa.table([rows[name].cast(pa.timestamp("us")).cast(pa.int64()).fill_null(0)], [name]), name)
