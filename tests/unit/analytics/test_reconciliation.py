"""Payments against subscriptions, account by account."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from collectors.analytics.reconciliation import OUTCOMES, Paid, reconcile
from collectors.analytics.recurring import ACTIONS, CONVENTIONS, Actions, Recurring, recurring

SECOND = 1_000_000
NOW = 100 * SECOND
CUSTOMERS, CURRENCIES = 6, 2
ACCOUNTS = st.dictionaries(
    st.tuples(st.integers(0, CUSTOMERS - 1), st.integers(0, CURRENCIES - 1)),
    st.integers(-50, 5).map(lambda n: abs(n) * 10),
)


def subscriptions(rows: list[tuple[int, int, int, int]]) -> Recurring:
    """Start a subscription, or change its price, for each (customer, currency, second, price)."""
    columns = [np.array(column, dtype=np.int64) for column in zip(*rows, strict=True)] or [np.zeros(0, np.int64)] * 4
    customer, currency, second, price = columns
    zero = np.zeros_like(customer)
    actions = Actions(
        customer * CURRENCIES + currency, customer, zero + ACTIONS.index("renew"), price, zero, zero, currency,
        zero + 2, second * SECOND, second * SECOND,
    )  # fmt: skip
    return recurring(actions, CONVENTIONS["exact"], CUSTOMERS, CURRENCIES)


def paid(amounts: dict[tuple[int, int], int], start: int = 50, end: int = 150) -> Paid:
    customer, currency = (np.array([key[n] for key in amounts], dtype=np.int64) for n in (0, 1))
    amount = np.array(list(amounts.values()), dtype=np.int64)
    return Paid(customer, currency, amount, np.full(len(amount), start * SECOND), np.full(len(amount), end * SECOND))


def outcome(history: Recurring, given: Paid) -> dict[str, tuple[int, int]]:
    found = reconcile(history, given, NOW)
    sums = zip(OUTCOMES, found.accounts.sum(axis=1).tolist(), found.difference.sum(axis=1).tolist(), strict=True)
    return {name: (accounts, difference) for name, accounts, difference in sums if accounts}


@given(
    ACCOUNTS,
    st.dictionaries(st.tuples(st.integers(0, CUSTOMERS - 1), st.integers(0, CURRENCIES - 1)), st.integers(-50, 500)),
)
def test_outcomes_are_those_of_each_account_and_explain_the_whole_difference(costs, payments):
    found = reconcile(subscriptions([(*account, 1, price) for account, price in costs.items()]), paid(payments), NOW)
    for currency in range(CURRENCIES):
        accounts, difference = dict.fromkeys(OUTCOMES, 0), dict.fromkeys(OUTCOMES, 0)
        for customer in range(CUSTOMERS):
            price, amount = costs.get((customer, currency), 0), payments.get((customer, currency), 0)
            if price == amount == 0:
                continue
            name = (
                "matched" if price == amount
                else "unexpected" if price == 0
                else "unpaid" if amount <= 0
                else "underpaid" if amount < price
                else "overpaid"
            )  # fmt: skip
            accounts[name] += 1
            difference[name] += amount - price
        assert dict(zip(OUTCOMES, found.accounts[:, currency].tolist(), strict=True)) == accounts
        assert dict(zip(OUTCOMES, found.difference[:, currency].tolist(), strict=True)) == difference


def test_one_change_of_price_in_the_period_explains_the_price_before_and_the_prorated_one():
    upgraded = subscriptions([(0, 0, 1, 1000), (0, 0, 75, 2000)])
    assert outcome(upgraded, paid({(0, 0): 1000})) == {"prorated": (1, -1000)}
    assert outcome(upgraded, paid({(0, 0): 1750})) == {"prorated": (1, -250)}
    assert outcome(upgraded, paid({(0, 0): 1749})) == {"underpaid": (1, -251)}
    downgraded = subscriptions([(0, 0, 1, 2000), (0, 0, 75, 1000)])
    assert outcome(downgraded, paid({(0, 0): 2000})) == {"prorated": (1, 1000)}


def test_several_changes_or_one_before_the_period_explain_nothing():
    twice = subscriptions([(0, 0, 1, 1000), (0, 0, 60, 1500), (0, 0, 75, 2000)])
    before = subscriptions([(0, 0, 1, 1000), (0, 0, 40, 2000)])
    for history in (twice, before):
        assert outcome(history, paid({(0, 0): 1000})) == {"underpaid": (1, -1000)}


def test_a_period_of_no_length_or_of_ages_is_not_prorated():
    upgraded = subscriptions([(0, 0, 1, 1000), (0, 0, 75, 2000)])
    for start, end in ((50, 50), (50, 2**31)):
        assert outcome(upgraded, paid({(0, 0): 1000}, start, end)) == {"underpaid": (1, -1000)}


def test_payments_of_one_account_add_up():
    once = paid({(0, 0): 600, (1, 0): 7})
    twice = Paid(*(np.concatenate((getattr(once, f.name), getattr(once, f.name)[:1])) for f in fields(once)))
    assert outcome(subscriptions([(0, 0, 1, 1200)]), twice) == {"matched": (1, 0), "unexpected": (1, 7)}


def test_nothing_agrees_with_nothing():
    assert outcome(subscriptions([]), paid({})) == {}
