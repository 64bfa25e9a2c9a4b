"""One tenant's subscriptions and payments of past months: contracts with known lifetimes, to the minor unit."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from collectors.simulate.billing import (
    CANCEL,
    CHANGE,
    CHANGE_SHARE,
    CHARGE,
    CHARGEBACK,
    EXPIRE,
    FAILED,
    PERIOD_MONTHS,
    REACTIVATE,
    REFUND,
    RENEW,
    REVERSAL,
    START,
    SUCCEEDED,
    TRIAL,
    Ledger,
    PaymentRows,
    SubscriptionRows,
    another_plan,
)
from collectors.simulate.local_time import add_months
from collectors.simulate.sampling import (
    DAY_US,
    SECOND_US,
    Columns,
    Flags,
    Index,
    Ints,
    generator,
    joined,
    picked,
    words,
)
from collectors.simulate.truth import TenantTruth
from collectors.simulate.vocabulary import PLANS
from collectors.simulate.world import Population, World

TRIAL_US = 14 * DAY_US
_TRIAL_SHARE = 0.3  # of contracts begin with a trial
_LAPSED_PER_CONVERTED = 0.6  # trials that lapse for one that converts
_INDIVIDUAL = next(i for i, p in enumerate(PLANS) if p.name == "individual")
_INTERVALS = {p.interval: p.months for p in PLANS}
_DISCOUNT_SHARE = 0.1  # of customers pay a quarter less
_RETURN_SHARE = 0.2  # of customers who left come back one to six months later
_LONGEST_NOTICE_US = 20 * DAY_US
_RETRY_SHARE, _REFUND_SHARE, _DISPUTE_SHARE, _WON_SHARE = 0.03, 0.01, 0.002, 0.3


class PastBilling:
    """Makes the contracts of one tenant's first ``users`` users over ``months`` calendar months before ``end_us``.

    A contract renews at the same day (1 to 28) and time of every period, UTC, and is paid in advance. At each renewal
    a customer leaves with its own hazard, so lifetimes are beta-geometric. Leaving is announced by a cancel event up
    to 20 days ahead whose ``effective_time`` is the end of the paid period; revenue recurs until then.
    ``signup_us`` is when users signed up, 0 for before.
    """

    def __init__(
        self,
        world: World,
        people: Population,
        truth: TenantTruth,
        *,
        months: int,
        end_us: int,
        signup_us: Ints,
    ) -> None:
        self._people = people
        self._truth = truth
        self._end_us = end_us
        self._ledger = Ledger(people, truth)
        self._rng = rng = generator(world.seed, "past billing", people.profile.id)
        users = len(signup_us)
        self._discounted = rng.random(users) < _DISCOUNT_SHARE
        self._subscriptions: list[SubscriptionRows] = []
        self._payments: list[PaymentRows] = []
        self.plan = people.plan[:users].copy()
        self.monthly = np.zeros(users, dtype=np.int64)
        """What recurs a month at the end, by user."""
        self.leaving = np.zeros(users, dtype=np.bool_)
        """Who has announced to leave after the end."""

        begin_us = int(add_months(np.array([end_us]), -months)[0])
        wished = np.where(
            signup_us > 0, signup_us + rng.integers(0, 20 * DAY_US, users), rng.integers(begin_us, end_us, users)
        )
        begin = _billing_day(wished)
        mine = np.flatnonzero((self.plan > 0) & (begin < end_us))
        self.customers = mine
        self._trials(rng, mine, begin[mine], begin_us)
        left, left_us = self._contracts(mine, begin[mine], START)
        back = rng.random(len(left)) < _RETURN_SHARE
        again_us = add_months(left_us[back], rng.integers(1, 7, int(back.sum())))
        soon = again_us < end_us
        self._contracts(left[back][soon], again_us[soon], REACTIVATE)
        self._subscription_rows = _in_order(self._subscriptions, end_us)
        self._payment_rows = _in_order(self._payments, end_us)

    def subscriptions(self, start_us: int, end_us: int, batch_rows: int) -> Iterator[pa.RecordBatch]:
        """Make the subscription events of a half-open interval, in the order of their times."""
        for rows in _chunks(self._subscription_rows, start_us, end_us, batch_rows):
            yield self._ledger.subscriptions(self._rng, rows)

    def payments(self, start_us: int, end_us: int, batch_rows: int) -> Iterator[pa.RecordBatch]:
        """Make the payment events of a half-open interval, in the order of their times."""
        for rows in _chunks(self._payment_rows, start_us, end_us, batch_rows):
            yield self._ledger.payments(self._rng, rows)

    def _trials(self, rng: np.random.Generator, customers: Ints, begin: Ints, first_us: int) -> None:
        converted = rng.random(len(customers)) < _TRIAL_SHARE
        self._note(begin[converted] - TRIAL_US, customers[converted], TRIAL, self.plan[customers[converted]])
        free = np.flatnonzero(self.plan == 0)
        lapsed = rng.permutation(free)[: round(_LAPSED_PER_CONVERTED * int(converted.sum()))]
        start = rng.integers(first_us, self._end_us, len(lapsed))
        plans = np.full(len(lapsed), _INDIVIDUAL)
        self._note(start, lapsed, TRIAL, plans)
        self._note(start + TRIAL_US, lapsed, EXPIRE, plans)
        over = int(np.count_nonzero(start + TRIAL_US < self._end_us))
        self._truth.revenue.trials[0] += over + int(converted.sum())
        self._truth.revenue.trials[1] += int(converted.sum())

    def _contracts(self, customers: Ints, begin: Ints, action: int) -> tuple[Ints, Ints]:
        """Run contracts from their beginning to their end or that of the past; return who left, and when."""
        rng, revenue = self._rng, self._truth.revenue
        lifetime = rng.geometric(np.maximum(self._people.hazard[customers], 1e-6))
        months = PERIOD_MONTHS[self.plan[customers]]
        self._pay(customers, begin, add_months(begin, months))
        self._note(begin, customers, action, self.plan[customers])
        self._recur(customers, begin, self._price(customers)[1])
        gone = [(customers[:0], begin[:0])]
        running = np.arange(len(customers))
        number = 0
        while len(running):
            number += 1
            who = customers[running]
            due = add_months(begin[running], number * months[running])
            leaves, came = lifetime[running] == number, due < self._end_us
            period = due - add_months(begin[running], (number - 1) * months[running])
            notice = (rng.random(len(who)) * np.minimum(period, _LONGEST_NOTICE_US)).astype(np.int64)
            told = leaves & (due - notice < self._end_us)
            self._note((due - notice)[told], who[told], CANCEL, self.plan[who[told]], due[told])
            self.leaving[who[told & ~came]] = True
            self._recur(who[told], due[told], np.zeros(int(told.sum()), dtype=np.int64))
            gone.append((who[leaves & came], due[leaves & came]))
            if action == START:
                for interval, length in _INTERVALS.items():
                    here = came & (months[running] == length)
                    if here.any():
                        revenue.renewed(interval, number, int(here.sum()), int((here & leaves).sum()))
            stays = came & ~leaves
            running = running[stays]
            self._renew(customers[running], due[stays], months[running])
        left, left_us = (np.concatenate(column) for column in zip(*gone, strict=True))
        return left, left_us

    def _renew(self, customers: Ints, due: Ints, months: Ints) -> None:
        change: Flags = (months == 1) & (self._rng.random(len(customers)) < CHANGE_SHARE)
        movers = customers[change]
        self.plan[movers] = another_plan(self._rng, self.plan[movers])
        self._note(due, customers, np.where(change, CHANGE, RENEW), self.plan[customers])
        self._recur(movers, due[change], self._price(movers)[1])
        self._pay(customers, due, add_months(due, months))

    def _price(self, customers: Ints) -> tuple[Ints, Ints, Ints]:
        """Return the price of a period, what recurs a month, and the discount on a period, in minor units."""
        plans = self.plan[customers]
        months = PERIOD_MONTHS[plans]
        price = self._people.price[plans, self._people.market[customers]]
        off = self._discounted[customers] * (price // months // 4)
        return price, price // months - off, off * months

    def _recur(self, customers: Ints, times: Ints, monthly: Ints) -> None:
        self._truth.revenue.changed(customers, times, monthly)
        past = times < self._end_us
        self.monthly[customers[past]] = monthly[past]

    def _note(
        self, times: Ints, customers: Ints, action: int | Ints, plans: Index, effective: Ints | None = None
    ) -> None:
        actions = np.broadcast_to(np.asarray(action, dtype=np.int64), len(times))
        discounts = self._price(customers)[2]
        effective = times if effective is None else effective
        self._subscriptions.append(SubscriptionRows(times, customers, actions, plans, discounts, effective))

    def _pay(self, customers: Ints, starts: Ints, ends: Ints) -> None:
        """Charge for periods that begin at ``starts``, with the failures, refunds and disputes that come with it."""
        rng = self._rng
        n = len(customers)
        price, _, discount = self._price(customers)
        amounts = price - discount
        times = starts + rng.integers(SECOND_US, 60 * SECOND_US, n)
        invoices = words(rng, n).view(np.int64)

        def add(rows: Flags, times: Ints, kind: int, status: int, amounts: Ints) -> None:
            kinds, statuses = np.full(n, kind), np.full(n, status)
            every = PaymentRows(times, customers, kinds, statuses, amounts, invoices, starts, ends)
            self._payments.append(picked(every, rows))

        fails = rng.random(n) < _RETRY_SHARE
        paid_us = times + fails * DAY_US
        add(fails, times, CHARGE, FAILED, amounts)
        add(np.ones(n, dtype=np.bool_), paid_us, CHARGE, SUCCEEDED, amounts)
        chance = rng.random(n)
        refunded = chance < _REFUND_SHARE
        half = np.where(rng.random(n) < 0.5, amounts, amounts // 2)
        add(refunded, paid_us + rng.integers(0, 10 * DAY_US, n), REFUND, SUCCEEDED, half)
        disputed = (chance >= _REFUND_SHARE) & (chance < _REFUND_SHARE + _DISPUTE_SHARE)
        disputed_us = paid_us + rng.integers(10 * DAY_US, 30 * DAY_US, n)
        add(disputed, disputed_us, CHARGEBACK, SUCCEEDED, amounts)
        won = disputed & (rng.random(n) < _WON_SHARE)
        add(won, disputed_us + 20 * DAY_US, REVERSAL, SUCCEEDED, amounts)


def _billing_day(times: Ints) -> Ints:
    """Move times after the 28th of their month three days back, so that every month has the day."""
    instant = times.astype("M8[us]")
    day = (instant.astype("M8[D]") - instant.astype("M8[M]").astype("M8[D]")).astype(np.int64)
    return np.where(day < 28, times, times - 3 * DAY_US)


def _in_order(parts: list[Columns], end_us: int) -> Columns:
    """Join rows, sort them by time (the first column), and leave out what is not past."""
    rows = joined(parts)
    order = np.argsort(rows[0], kind="stable")
    return picked(rows, order[rows[0][order] < end_us])


def _chunks(rows: Columns, start_us: int, end_us: int, batch_rows: int) -> Iterator[Columns]:
    first, last = np.searchsorted(rows[0], [start_us, end_us]).tolist()
    for at in range(first, last, batch_rows):
        yield picked(rows, slice(at, min(at + batch_rows, last)))
