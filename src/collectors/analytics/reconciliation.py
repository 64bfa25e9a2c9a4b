"""Whether what customers paid is what their subscriptions cost.

Definitions
    * At an instant an account, which is a customer and a currency, should have paid the price of the current period of
      each of its subscriptions. It has paid what the payments add up to whose service period holds the instant.
    * ``matched``: the same. ``prorated``: the price changed once within the service period, and what was paid is the
      price before (the difference comes with the next invoice) or that and the prorated difference, to the second.
      ``underpaid`` and ``overpaid``: both are there and differ. ``unpaid``: nothing was paid. ``unexpected``: nothing
      should have been.
    * Over all outcomes expected + difference = paid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from collectors.analytics.money import Codes, Ints
from collectors.analytics.recognition import prorate
from collectors.analytics.recurring import Bools, Recurring

_SHORTEST_US, _LONGEST_US = 2_000_000, 2**30 * 1_000_000
OUTCOMES = ("matched", "prorated", "underpaid", "overpaid", "unpaid", "unexpected")
_MATCHED, _PRORATED, _UNDERPAID, _OVERPAID, _UNPAID, _UNEXPECTED = range(len(OUTCOMES))


@dataclass(frozen=True)
class Paid:
    """What accounts paid for service periods that hold the instant: arrays of one length.

    ``amount`` is in minor units, ``start`` and ``end`` of the service period are UTC microseconds. An account may come
    several times: then the amounts are added up, and its period is from the first start to the last end.
    """

    customer: Ints
    currency: Codes
    amount: Ints
    start: Ints
    end: Ints

    def by_account(self, customers: int) -> tuple[Ints, Paid]:
        """Return the same with each account once, and the accounts: currency * customers + customer, ascending."""
        keys, row = np.unique(self.currency.astype(np.int64) * customers + self.customer, return_inverse=True)
        amount, end = np.zeros_like(keys), np.zeros_like(keys)
        start = np.full_like(keys, np.iinfo(np.int64).max)
        np.add.at(amount, row, self.amount)
        np.minimum.at(start, row, self.start)
        np.maximum.at(end, row, self.end)
        return keys, Paid(keys % max(customers, 1), keys // max(customers, 1), amount, start, end)


@dataclass(frozen=True)
class Reconciliation:
    """Accounts, and paid less expected in minor units, by outcome and currency: shape (outcomes, currencies)."""

    accounts: Ints
    difference: Ints


def reconcile(history: Recurring, paid: Paid, instant: int) -> Reconciliation:
    """Compare what is paid with what subscriptions cost just before ``instant``, in UTC microseconds."""
    costs = history.price_at(instant)
    key = history.account_currency * history.customers + history.account_customer  # ascends
    paid_key, paid = paid.by_account(history.customers)
    at = np.minimum(np.searchsorted(key, paid_key), max(len(key) - 1, 0))
    has_account = key[at] == paid_key if len(key) else np.zeros(len(paid_key), dtype=np.bool_)
    asked = np.zeros(len(paid_key), dtype=np.int64)
    asked[has_account] = costs[at[has_account]]
    outcome = np.select(
        [paid.amount == asked, asked == 0, paid.amount <= 0, paid.amount < asked],
        [_MATCHED, _UNEXPECTED, _UNPAID, _UNDERPAID],
        _OVERPAID,
    )
    length = paid.end - paid.start
    plausible = (length >= _SHORTEST_US) & (length < _LONGEST_US)
    differ = np.flatnonzero(((outcome == _UNDERPAID) | (outcome == _OVERPAID)) & plausible)
    outcome[differ[_prorated(history, paid, at, differ, asked, instant)]] = _PRORATED

    counts = np.zeros((len(OUTCOMES), history.currencies), dtype=np.int64)
    difference = np.zeros_like(counts)
    relevant = (asked != 0) | (paid.amount != 0)
    np.add.at(counts, (outcome[relevant], paid.currency[relevant]), 1)
    np.add.at(difference, (outcome[relevant], paid.currency[relevant]), (paid.amount - asked)[relevant])
    nothing = costs > 0
    nothing[at[has_account]] = False
    np.add.at(counts[_UNPAID], history.account_currency[nothing], 1)
    np.subtract.at(difference[_UNPAID], history.account_currency[nothing], costs[nothing])
    return Reconciliation(counts, difference)


def _prorated(history: Recurring, paid: Paid, at: Ints, rows: Ints, asked: Ints, instant: int) -> Bools:
    """Tell which of ``rows`` of ``paid`` one change of price within the service period explains."""
    place = np.full(len(history.account_customer), -1, dtype=np.int64)
    place[at[rows]] = np.arange(len(rows))
    where = place[history.account]
    start = paid.start[rows]
    within = (where >= 0) & (history.price != 0) & (history.time < instant)
    within[within] = history.time[within] > start[where[within]]
    where = where[within]
    times, change, old = np.zeros(len(rows), dtype=np.int64), start.copy(), asked[rows].copy()
    np.add.at(times, where, 1)
    np.maximum.at(change, where, history.time[within])
    np.subtract.at(old, where, history.price[within])
    due = prorate(old, asked[rows], start, paid.end[rows], change).due
    amount = paid.amount[rows]
    return np.asarray((times == 1) & ((amount == old) | (amount == old + due)), dtype=np.bool_)
