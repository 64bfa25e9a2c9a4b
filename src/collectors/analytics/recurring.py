"""What recurs each month: the actions on subscriptions turned into changes of what each customer pays.

Definitions
    * MRR of a subscription: the price of its period, less the discount if the convention deducts it, divided by the
      months of the period. One-time charges and payments play no part, nor do taxes, fees and refunds:
      https://help.chartmogul.com/hc/en-us/articles/203299812
    * A trial, a pause and what has ended pay nothing. A change keeps a subscription in the state it is in. What an
      action does not tell (price, currency, interval) stays as it was.
    * An action counts from when it takes effect. An end that was announced is void if the subscription is started or
      reactivated after the announcement and before it takes effect.
    * Amounts are exact: int64 counts of 1/1200 minor unit, of which every price of every convention is a whole number.
      So ARR is 12 MRR to the last cent, and rounding is left to whoever reports.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from fractions import Fraction
from types import MappingProxyType
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from collectors.analytics.money import Codes, Ints, rescale
from collectors.errors import BadInput

Bools: TypeAlias = npt.NDArray[np.bool_]

UNITS = 1200
"""Units of a minor unit a month."""

ACTIONS = ("trial", "start", "renew", "change", "pause", "resume", "cancel", "expire", "reactivate")
INTERVALS = ("day", "week", "month", "quarter", "half_year", "year")
UNKNOWN = -1
"""In place of an amount, a currency or an interval that an action does not tell."""

LARGEST_AMOUNT = 10**12
"""No period costs more minor units than this; a larger amount is taken for a mistake."""

_TRIAL, _START, _RENEW, _CHANGE, _PAUSE, _RESUME, _CANCEL, _EXPIRE, _REACTIVATE = range(len(ACTIONS))
_PAID, _FREE, _SAME = range(3)
_STATE = np.array([_FREE, _PAID, _PAID, _SAME, _FREE, _PAID, _FREE, _FREE, _PAID], dtype=np.int8)
_ENDS = np.isin(np.arange(len(ACTIONS)), (_PAUSE, _CANCEL, _EXPIRE))
_BEGINS = np.isin(np.arange(len(ACTIONS)), (_START, _REACTIVATE))
_MONTHS = MappingProxyType({"month": 1, "quarter": 3, "half_year": 6, "year": 12})


@dataclass(frozen=True)
class Convention:
    """How prices become MRR.

    ``day`` and ``week`` are how many of them a month has. ``discounts`` says whether they are deducted, ``ended``
    whether a cancellation counts when it takes effect or when it is announced.
    """

    day: Fraction = Fraction(365, 12)
    week: Fraction = Fraction(52, 12)
    discounts: Literal["deducted", "ignored"] = "deducted"
    ended: Literal["effective", "announced"] = "effective"

    @property
    def units(self) -> Ints:
        """Units of MRR for each minor unit of a period's price, by position in ``INTERVALS``."""
        a_month = {"day": self.day, "week": self.week} | {name: Fraction(1, n) for name, n in _MONTHS.items()}
        exact = [a_month[name] * UNITS for name in INTERVALS]
        if any(value.denominator != 1 for value in exact):
            raise ValueError(f"the days and weeks of a month must be multiples of 1/{UNITS}")
        return np.array([int(value) for value in exact], dtype=np.int64)


CONVENTIONS: Mapping[str, Convention] = MappingProxyType(
    {
        "exact": Convention(),
        # https://help.chartmogul.com/hc/en-us/articles/203299812: the months of the period, discounts deducted; what a
        # week counts is not published.
        "chartmogul": Convention(),
        # The sum of the monthly amounts of active subscriptions, 1,200 a year being 100.
        "stripe": Convention(),
        # https://www.paddle.com/help/manage/reporting/how-is-monthly-recurring-revenue-calculated: list prices, and
        # a cancellation is deducted at once.
        "paddle": Convention(Fraction(30), Fraction("4.33"), "ignored", "announced"),
        # Four weeks to a month, as in segmentio's stripe-cohort.
        "segmentio": Convention(Fraction(28), Fraction(4)),
    }
)
"""Published conventions by name."""


@dataclass(frozen=True)
class Actions:
    """Actions on subscriptions, in any order: arrays of one length, one element an action.

    ``subscription``, ``customer`` and ``currency`` are codes from 0; ``action`` and ``interval`` positions in
    ``ACTIONS`` and ``INTERVALS``. ``amount`` is the price of a period in minor units, ``discount`` is off it,
    ``decimals`` what ``money.rescale`` has to add to both. ``effective`` and ``recorded`` are UTC microseconds since
    1970. ``UNKNOWN`` stands for an amount, a currency or an interval that is not told.
    """

    subscription: Ints
    customer: Ints
    action: Codes
    amount: Ints
    discount: Ints
    decimals: Codes
    currency: Codes
    interval: Codes
    effective: Ints
    recorded: Ints

    def take(self, rows: Ints) -> Actions:
        """Return the actions at these positions."""
        return Actions(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})


@dataclass(frozen=True)
class Recurring:
    """Changes of what recurs, by account: a customer's subscriptions in one currency.

    Accounts are numbered by currency, then by customer. Of a change, ``account``, ``time``, ``mrr`` (in 1/1200 minor
    unit a month) and ``price`` (of the current periods, in minor units) say what is added to what, and when;
    ``paid`` how many more (or fewer) of the account's subscriptions cost something.
    """

    customers: int
    currencies: int
    account_customer: Ints
    account_currency: Ints
    account: Ints
    time: Ints
    mrr: Ints
    price: Ints
    paid: Ints
    unpriced: int
    """Actions that should be paid for, but of which price, currency or interval is not known or not possible."""

    def split(self, instants: Ints) -> Iterator[Ints]:
        """Yield the positions of the changes before the first of the ascending instants, then before the next ..."""
        place = np.searchsorted(instants, self.time, side="right").astype(np.uint16)
        order = np.argsort(place, kind="stable")  # of so short integers this is a radix sort
        ends = np.cumsum(np.bincount(place, minlength=len(instants) + 1))
        return (order[end - n : end] for end, n in zip(ends[:-1].tolist(), np.diff(ends[:-1], prepend=0), strict=True))

    def price_at(self, instant: int) -> Ints:
        """Return by account what one period of its current subscriptions costs, in minor units less discount."""
        total = np.zeros(len(self.account_customer), dtype=np.int64)
        (rows,) = self.split(np.array([instant]))
        np.add.at(total, self.account[rows], self.price[rows])
        return total

    def payers_at(self, instants: Ints) -> Ints:
        """Count the customers with a paid subscription just before each of the ascending instants."""
        running = np.zeros(self.customers, dtype=np.int64)
        counts = np.zeros(len(instants), dtype=np.int64)
        for number, rows in enumerate(self.split(instants)):
            moved = rows[self.paid[rows] != 0]
            customer = self.account_customer[self.account[moved]]
            concerned = np.unique(customer)
            before = np.count_nonzero(running[concerned])
            np.add.at(running, customer, self.paid[moved])
            counts[number] = np.count_nonzero(running[concerned]) - before
        return np.cumsum(counts)


def recurring(actions: Actions, convention: Convention, customers: int, currencies: int) -> Recurring:
    """Turn actions into changes of what recurs; ``customers`` and ``currencies`` are how many codes there are.

    Of two actions that take effect at once, the later recorded one counts; recorded at once, the one that is paid.
    BadInput if everything together does not fit in 64 bits.
    """
    effective = actions.effective
    if convention.ended == "announced":
        effective = np.where(actions.action == _CANCEL, np.minimum(effective, actions.recorded), effective)
    order = _in_order(actions, effective)
    a, effective = actions.take(order), effective[order]
    rows = np.arange(len(order))
    first = np.diff(a.subscription, prepend=UNKNOWN) != 0
    begin = np.maximum.accumulate(np.where(first, rows, 0))

    def latest(known: Bools) -> Ints:
        """Return the row of the latest known value of the same subscription; ``UNKNOWN`` if there is none."""
        row = np.maximum.accumulate(np.where(known, rows, UNKNOWN))
        return np.where(row >= begin, row, UNKNOWN)

    begun = latest(_BEGINS[a.action])
    void = _ENDS[a.action] & (begun >= 0) & (a.recorded[begun] > a.recorded) & (a.recorded < effective)
    state = _STATE[a.action]
    settled = latest((state != _SAME) & ~void)
    paid = np.where(settled >= 0, state[settled], _PAID) == _PAID

    possible = (a.amount >= 0) & (a.amount <= LARGEST_AMOUNT) & (a.discount <= LARGEST_AMOUNT)
    amount = rescale(np.where(possible, a.amount, 0), a.decimals)
    net = np.maximum(amount - rescale(np.where(possible, np.maximum(a.discount, 0), 0), a.decimals), 0)
    tells_price = (state != _FREE) | ((a.action == _TRIAL) & (a.amount > 0))
    priced = latest(tells_price & (a.amount != UNKNOWN))
    in_currency = latest(a.currency != UNKNOWN)
    with_interval = latest(a.interval != UNKNOWN)
    known = (priced >= 0) & (in_currency >= 0) & (with_interval >= 0) & possible[priced]
    counted = paid & known
    factor = np.where(counted, convention.units[a.interval[with_interval]], 0)
    mrr = (net if convention.discounts == "deducted" else amount)[priced] * factor
    price = np.where(counted, net[priced], 0)
    costs = (mrr > 0).astype(np.int64)
    if float(np.abs(mrr, dtype=np.float64).sum()) > 2**62:
        raise BadInput("subscriptions cost too much to be added up; check that their amounts are in minor units")

    key = np.where(counted, a.currency[in_currency], 0).astype(np.int64) * customers + a.customer
    again = ~first & (key == np.roll(key, 1))

    def change(value: Ints) -> tuple[Ints, Ints]:
        """Return what each row adds to its own account, and what it takes from the one before it if that is another."""
        before = np.where(first, 0, np.roll(value, 1))
        return value - np.where(again, before, 0), -np.where(again, 0, before)

    changes = [np.concatenate(change(value)) for value in (mrr, price, costs)]
    keys = np.concatenate((key, np.roll(key, 1)))
    real = np.flatnonzero((changes[0] != 0) | (changes[1] != 0) | (changes[2] != 0))
    keys = keys[real]
    has_account = np.zeros(currencies * customers, dtype=np.bool_)
    has_account[keys] = True
    account_key = np.flatnonzero(has_account)
    number = np.cumsum(has_account) - 1
    return Recurring(
        customers=customers,
        currencies=currencies,
        account_customer=account_key % max(customers, 1),
        account_currency=account_key // max(customers, 1),
        account=number[keys],
        time=np.concatenate((effective, effective))[real],
        mrr=changes[0][real],
        price=changes[1][real],
        paid=changes[2][real],
        unpriced=int(np.count_nonzero(paid & ~known)),
    )


def _in_order(actions: Actions, effective: Ints) -> Ints:
    """Return the order by subscription, then when they take effect, then when recorded, what is paid last."""
    second = effective // 1_000_000
    low = second.min(initial=0)
    coarse = actions.subscription * (second.max(initial=0) - low + 1) + (second - low)
    order = np.argsort(coarse)  # one key of 64 bits is sorted several times faster than four
    coarse = coarse[order]
    same = np.diff(coarse, prepend=UNKNOWN, append=UNKNOWN) == 0
    tied = np.flatnonzero(same[1:] | same[:-1])
    a = actions.take(order[tied])
    paid_last = (_STATE == _PAID)[a.action]
    # The rest is only there so that the order in which actions are given never matters.
    rest = (a.customer, a.interval, a.currency, a.discount, a.amount, a.action)
    order[tied] = order[tied][np.lexsort((*rest, paid_last, a.recorded, effective[order[tied]], coarse[tied]))]
    return order
