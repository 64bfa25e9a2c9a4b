"""Subscriptions and payments as they happen live: each customer in turn, lap after lap, in a consistent state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from collectors.model.event_type import TIMESTAMP
from collectors.model.event_types import PAYMENT, SUBSCRIPTION
from collectors.simulate.local_time import add_months
from collectors.simulate.sampling import (
    Index,
    Ints,
    SlotTable,
    generator,
    hex_text,
    record_batch,
    text_of,
    time_array,
    words,
)
from collectors.simulate.truth import TenantTruth
from collectors.simulate.vocabulary import (
    PAYMENT_KIND_SHARES,
    PAYMENT_KINDS,
    PAYMENT_STATUS_SHARES,
    PAYMENT_STATUSES,
    PLANS,
)
from collectors.simulate.world import Population, World

ACTIONS = ("trial", "start", "renew", "change", "cancel", "expire", "reactivate")
TRIAL, START, RENEW, CHANGE, CANCEL, EXPIRE, REACTIVATE = range(len(ACTIONS))
CHARGE, REFUND, CHARGEBACK, REVERSAL = range(4)
SUCCEEDED, FAILED = range(2)
MONTHLY_PLANS = np.array([i for i, p in enumerate(PLANS) if p.factor and p.interval == "month"], dtype=np.uint8)
PERIOD_MONTHS = np.array([p.months for p in PLANS], dtype=np.int64)
CHANGE_SHARE = 0.01  # of renewals go with a move to another monthly plan

_ACTIONS = pa.array(ACTIONS)
_PLANS = pa.array([p.name for p in PLANS])
_INTERVALS = pa.array([p.interval for p in PLANS])
_KINDS = pa.array(PAYMENT_KINDS)
_STATUSES = pa.array(PAYMENT_STATUSES)


class SubscriptionRows(NamedTuple):
    """Columns of subscription events; ``actions`` and ``plans`` point into ``ACTIONS`` and ``PLANS``."""

    times: Ints
    customers: Index
    actions: Index
    plans: Index
    discounts: Ints
    effective: Ints | None = None


class PaymentRows(NamedTuple):
    """Columns of payment events; ``kinds`` and ``statuses`` point into the vocabulary, invoices are numbers."""

    times: Ints
    customers: Index
    kinds: Index
    statuses: Index
    amounts: Ints
    invoices: Ints
    starts: Ints
    ends: Ints


class Ledger:
    """Turns rows of subscription and payment columns into batches, and counts them."""

    def __init__(self, people: Population, truth: TenantTruth) -> None:
        self._people = people
        self._truth = truth
        self._currencies = pa.array([m.currency for m in people.profile.markets])

    def subscriptions(self, rng: np.random.Generator, rows: SubscriptionRows) -> pa.RecordBatch:
        """Make subscription events; trials and expired trials cost nothing."""
        people = self._people
        times, customers, actions, plans, discounts, effective = rows
        price = people.price[plans, people.market.take(customers)]
        price = np.where((actions == TRIAL) | (actions == EXPIRE), 0, price)
        counts = np.bincount(actions, minlength=len(ACTIONS)).tolist()
        self._truth.events["subscription"] += len(times)
        self._truth.revenue.actions.update({a: c for a, c in zip(ACTIONS, counts, strict=True) if c})
        ids = text_of(people.ids, customers)
        return record_batch(
            SUBSCRIPTION,
            rng,
            times,
            {
                "source": pa.repeat(pa.scalar("billing"), len(times)),
                "user_id": ids,
                "subscription_id": text_of(people.subscriptions, customers),
                "customer_id": ids,
                "action": text_of(_ACTIONS, actions),
                "plan": text_of(_PLANS, plans),
                "amount_minor": pa.array(price),
                "currency": text_of(self._currencies, people.market.take(customers)),
                "interval": text_of(_INTERVALS, plans),
                "discount_minor": pa.array(np.minimum(discounts, price)),
                "effective_time": pa.nulls(len(times), TIMESTAMP) if effective is None else time_array(effective),
            },
        )

    def payments(self, rng: np.random.Generator, rows: PaymentRows) -> pa.RecordBatch:
        """Make payment events."""
        times, customers, kinds, statuses, amounts, invoices, starts, ends = rows
        self._truth.events["payment"] += len(times)
        self._truth.revenue.paid(customers, times, kinds, statuses, amounts)
        ids = text_of(self._people.ids, customers)
        return record_batch(
            PAYMENT,
            rng,
            times,
            {
                "source": pa.repeat(pa.scalar("billing"), len(times)),
                "user_id": ids,
                "payment_id": hex_text(words(rng, len(times)), "p-"),
                "customer_id": ids,
                "kind": text_of(_KINDS, kinds),
                "amount_minor": pa.array(amounts),
                "currency": text_of(self._currencies, self._people.market.take(customers)),
                "invoice_id": hex_text(invoices.view(np.uint64), "in-"),
                "status": text_of(_STATUSES, statuses),
                "period_start": time_array(starts),
                "period_end": time_array(ends),
            },
        )


class Billing:
    """Makes a tenant's live subscription and payment events.

    A lap through the customers stands for one billing period: an active customer renews, sometimes on another plan, or
    cancels with its own hazard; one that has left comes back in the next lap.
    """

    def __init__(self, world: World, people: Population, truth: TenantTruth) -> None:
        self._people = people
        self._truth = truth
        self._ledger = Ledger(people, truth)
        self._rng = {t.name: generator(world.seed, "live", people.profile.id, t.name) for t in (SUBSCRIPTION, PAYMENT)}
        rng = generator(world.seed, "billing laps", people.profile.id)
        self._lap = rng.permutation(np.flatnonzero(people.plan))
        self._places = {SUBSCRIPTION.name: 0, PAYMENT.name: 0}
        self._kinds = SlotTable(PAYMENT_KIND_SHARES, bits=12)
        self._statuses = SlotTable(PAYMENT_STATUS_SHARES, bits=12)
        self._plan = people.plan.copy()
        self._active = np.ones(len(people), dtype=np.bool_)
        self._monthly = np.full(len(people), -1, dtype=np.int64)
        self._invoice = words(rng, len(people))

    def resume(self, customers: Ints, plans: Index, monthly: Ints) -> None:
        """Go on with these customers only, from the plan each has and what it pays a month (0: it has left)."""
        self._lap = self._lap[np.isin(self._lap, customers)]
        self._places = dict.fromkeys(self._places, 0)
        self._plan[customers], self._monthly[customers], self._active[customers] = plans, monthly, monthly > 0

    def _turns(self, kind: str, n: int) -> Iterator[Ints]:
        """Split the next ``n`` turns of the lap into runs in which no customer has two."""
        while n:
            at = self._places[kind]
            run = self._lap[at : at + n]
            self._places[kind] = (at + len(run)) % len(self._lap)
            n -= len(run)
            yield run

    def subscription(self, times: Ints) -> pa.RecordBatch:
        """Make subscription events at ``times``."""
        rng = self._rng["subscription"]
        people = self._people
        turns = list(self._turns("subscription", len(times)))
        actions, plans, at = [], [], 0
        for turn in turns:
            chance = rng.random(len(turn))
            active, hazard = self._active[turn], people.hazard[turn]
            monthly = PERIOD_MONTHS[self._plan[turn]] == 1
            change = active & monthly & (chance >= hazard) & (chance < hazard + CHANGE_SHARE)
            action = np.where(active, np.where(chance < hazard, CANCEL, np.where(change, CHANGE, RENEW)), REACTIVATE)
            self._plan[turn[change]] = another_plan(rng, self._plan[turn[change]])
            self._active[turn] = action != CANCEL
            recurring = people.price[self._plan[turn], people.market[turn]] // PERIOD_MONTHS[self._plan[turn]]
            recurring = np.where(action == CANCEL, 0, recurring)
            moved = recurring != self._monthly[turn]
            self._monthly[turn] = recurring
            self._truth.revenue.changed(turn[moved], times[at : at + len(turn)][moved], recurring[moved])
            actions.append(action)
            plans.append(self._plan[turn])
            at += len(turn)
        customers = np.concatenate(turns)
        free = np.zeros(len(times), dtype=np.int64)
        return self._ledger.subscriptions(
            rng, SubscriptionRows(times, customers, np.concatenate(actions), np.concatenate(plans), free)
        )

    def payment(self, times: Ints) -> pa.RecordBatch:
        """Make payment events at ``times``: mostly charges; refunds and disputes are of the last invoice."""
        rng = self._rng["payment"]
        people = self._people
        turns = list(self._turns("payment", len(times)))
        source = words(rng, len(times))
        kinds, statuses = self._kinds.pick(source), self._statuses.pick(source, 12)
        invoices, at = words(rng, len(times)), 0
        for turn in turns:
            here = slice(at, at + len(turn))
            charge = kinds[here] == CHARGE
            invoices[here] = np.where(charge, invoices[here], self._invoice[turn])
            self._invoice[turn] = invoices[here]
            at += len(turn)
        customers = np.concatenate(turns)
        plans = self._plan[customers]
        amounts = people.price[plans, people.market[customers]]
        # Tax and fees are small parts of the price; the rest moves all of it.
        amounts = np.where(kinds > REVERSAL, amounts // 20 + 1, amounts)
        statuses = np.where(kinds == CHARGE, statuses, SUCCEEDED)
        ends = add_months(times, PERIOD_MONTHS[plans])
        rows = PaymentRows(times, customers, kinds, statuses, amounts, invoices.view(np.int64), times, ends)
        return self._ledger.payments(rng, rows)


def another_plan(rng: np.random.Generator, plans: Index) -> Index:
    """Draw for each monthly plan a different monthly plan."""
    place = np.searchsorted(MONTHLY_PLANS, plans)
    step = rng.integers(1, len(MONTHLY_PLANS), len(plans))
    return MONTHLY_PLANS.take(place + step, mode="wrap")
