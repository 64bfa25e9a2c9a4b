"""Recurring revenue and its movements against a plain recomputation with loops, dictionaries and fractions."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import fields
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.analytics.money import Undefined
from collectors.analytics.recurring import (
    ACTIONS,
    CONVENTIONS,
    INTERVALS,
    UNITS,
    UNKNOWN,
    Actions,
    Convention,
    Recurring,
    recurring,
)
from collectors.analytics.revenue import MOVEMENTS, Amounts, average_payers, changes
from collectors.errors import BadInput

SECOND = 1_000_000
CUSTOMERS, CURRENCIES = 4, 3
INSTANTS = np.array([10, 20, 30, 40]) * SECOND
SPANS = [(0, 1), (1, 2), (2, 3), (0, 3)]
MONTHS = {"day": Fraction(12, 365), "week": Fraction(12, 52), "month": 1, "quarter": 3, "half_year": 6, "year": 12}
PAID, FREE = ("start", "renew", "resume", "reactivate"), ("trial", "pause", "cancel", "expire")
RATES = [Fraction(1), Fraction(7, 5), Fraction(1, 160)]
LATER = [Fraction(1), Fraction(4, 3), Fraction(1, 150)]

# A subscription belongs to one customer; several actions may fall on the same second.
ROW = st.fixed_dictionaries(
    {
        "subscription": st.integers(0, 6),
        "action": st.sampled_from(ACTIONS),
        "amount": st.sampled_from((UNKNOWN, 0, 500, 999, 1000, 2500)),
        "discount": st.sampled_from((0, 0, 100, 5000)),
        "currency": st.sampled_from((UNKNOWN, 0, 0, 1, 2)),
        "interval": st.sampled_from((UNKNOWN, 2, 2, *range(len(INTERVALS)))),
        "effective": st.integers(0, 45).map(lambda s: s * SECOND),
        "notice": st.sampled_from((0, 0, 0, 4 * SECOND)),
    }
)
ROWS = st.lists(ROW, max_size=25).map(lambda rows: [r | {"recorded": r["effective"] - r["notice"]} for r in rows])


def actions(rows: list[dict]) -> Actions:
    narrow = {"action": np.int8, "interval": np.int8, "currency": np.int8, "decimals": np.int8}
    columns = {
        "subscription": [r["subscription"] for r in rows],
        "customer": [r["subscription"] % CUSTOMERS for r in rows],
        "action": [ACTIONS.index(r["action"]) for r in rows],
        "decimals": [0 for _ in rows],
        **{
            name: [r[name] for r in rows]
            for name in ("amount", "discount", "currency", "interval", "effective", "recorded")
        },
    }
    return Actions(**{name: np.array(column, dtype=narrow.get(name, np.int64)) for name, column in columns.items()})


def history(rows: list[dict], convention: Convention = CONVENTIONS["exact"]) -> Recurring:
    return recurring(actions(rows), convention, CUSTOMERS, CURRENCIES)


def states(rows: list[dict], instant: int) -> tuple[dict[tuple[int, int], Fraction], dict[tuple[int, int], int]]:
    """Return MRR and price by customer and currency just before an instant, one subscription after the other."""
    mrr: dict[tuple[int, int], Fraction] = defaultdict(Fraction)
    price: dict[tuple[int, int], int] = defaultdict(int)
    for subscription in range(7):
        mine = [r for r in rows if r["subscription"] == subscription]
        mine.sort(
            key=lambda r: (
                r["effective"],
                r["recorded"],
                r["action"] in PAID,
                ACTIONS.index(r["action"]),
                r["amount"],
                r["discount"],
                r["currency"],
                r["interval"],
            )
        )
        paid, amount, currency, interval = None, None, None, None
        begun = None
        for r in mine:
            if r["effective"] >= instant:
                break
            what = r["action"]
            void = (
                what in ("pause", "cancel", "expire")
                and begun is not None
                and r["recorded"] < begun
                and r["recorded"] < r["effective"]
            )
            if what in PAID or (what in FREE and not void):
                paid = what in PAID
            if what in ("start", "reactivate"):
                begun = r["recorded"]
            if r["amount"] != UNKNOWN and (what in (*PAID, "change") or (what == "trial" and r["amount"] > 0)):
                amount = max(r["amount"] - r["discount"], 0)
            currency = r["currency"] if r["currency"] != UNKNOWN else currency
            interval = INTERVALS[r["interval"]] if r["interval"] != UNKNOWN else interval
        if (
            mine
            and mine[0]["effective"] < instant
            and paid in (None, True)
            and None not in (amount, currency, interval)
        ):
            account = subscription % CUSTOMERS, currency
            mrr[account] += Fraction(amount) / MONTHS[interval]
            price[account] += amount
    return mrr, price


def worth(state: dict[tuple[int, int], Fraction], customer: int, rates: list[Fraction]) -> Fraction:
    return sum((amount * rates[currency] for (who, currency), amount in state.items() if who == customer), Fraction(0))


def expected(rows: list[dict], first: int, last: int, rates: list[Fraction]) -> dict[str, Fraction | int]:
    """Return movements, all converted at the same rates, by looking at each customer as a whole."""
    before, after = states(rows, first)[0], states(rows, last)[0]
    ever = {who for t in range(0, first, SECOND) for (who, _), v in states(rows, t + 1)[0].items() if v > 0}
    found: dict[str, Fraction | int] = defaultdict(Fraction)
    for who in range(CUSTOMERS):
        then, now = worth(before, who, rates), worth(after, who, rates)
        found["start"] += then
        found["end"] += now
        if then == 0 and now > 0:
            found["reactivation" if who in ever else "new"] += now
        elif then > 0 and now == 0:
            found["churn"] += then
        elif now > then:
            found["expansion"] += now - then
        else:
            found["contraction"] += then - now
        if then > 0:
            found["retained"] += now
        found["kept"] += min(then, now)
    return found


@given(ROWS)
@settings(max_examples=150)
def test_movements_are_those_of_each_customer_as_a_whole(rows):
    found = changes(history(rows), INSTANTS, SPANS)
    for first, last in SPANS:
        figures = found[first, last].converted(RATES, RATES)
        true = expected(rows, INSTANTS[first], INSTANTS[last], RATES)
        assert dict(zip(MOVEMENTS, figures.moved, strict=True)) == {name: true[name] for name in MOVEMENTS}
        assert (figures.start, figures.end) == (true["start"], true["end"])
        assert (figures.cohort, figures.retained, figures.kept) == (true["start"], true["retained"], true["kept"])
        assert figures.fx == 0


@given(ROWS)
def test_each_currency_has_what_its_accounts_have(rows):
    found = changes(history(rows), INSTANTS, SPANS)[1, 2]
    for currency in range(CURRENCIES):
        figures = found.within(currency)
        for value, instant in ((figures.start, INSTANTS[1]), (figures.end, INSTANTS[2])):
            state = states(rows, instant)[0]
            assert value == sum(v for (_, code), v in state.items() if code == currency)
        assert figures.fx == 0


@given(ROWS)
def test_reported_rows_are_whole_and_add_up_with_the_impact_of_rates(rows):
    for change in changes(history(rows), INSTANTS, SPANS).values():
        figures = change.converted(RATES, LATER)
        told = figures.rows()
        gained = told["new"] + told["expansion"] + told["reactivation"]
        assert told["start"] + gained - told["contraction"] - told["churn"] + told["fx"] == told["end"]
        assert all(isinstance(value, int) for value in told.values())
        assert all(told[name] >= 0 for name in MOVEMENTS)
        assert (told["start"], told["end"]) == (round(figures.start), round(figures.end))
        assert figures.fx == figures.cohort - figures.start


@given(ROWS)
def test_customers_are_counted_by_what_became_of_them(rows):
    found = changes(history(rows), INSTANTS, SPANS)[1, 2].customers
    before, after = ({who for (who, _), v in states(rows, t)[0].items() if v > 0} for t in INSTANTS[1:3])
    assert (found.start, found.end, found.churned) == (len(before), len(after), len(before - after))
    assert found.new + found.reactivated == len(after - before)


@given(ROWS, st.randoms(use_true_random=False))
def test_the_order_of_actions_changes_nothing(rows, random):
    shuffled = random.sample(rows, len(rows))
    for one, other in zip(summary(history(rows)), summary(history(shuffled)), strict=True):
        assert one == other


def summary(of: Recurring) -> list[object]:
    found = changes(of, INSTANTS, SPANS)
    return [
        *(found[span].converted(RATES, LATER) for span in SPANS),
        *(found[span].customers for span in SPANS),
        *(of.price_at(int(instant)).tolist() for instant in INSTANTS),
        of.payers_at(INSTANTS).tolist(),
        of.unpriced,
    ]


@given(ROWS)
def test_shards_of_customers_add_up(rows):
    parts = [[r for r in rows if r["subscription"] % CUSTOMERS % 2 == shard] for shard in (0, 1)]
    whole = changes(history(rows), INSTANTS, SPANS)
    one, two = (changes(history(part), INSTANTS, SPANS) for part in parts)
    for span in SPANS:
        merged = one[span] + two[span]
        assert merged.customers == whole[span].customers
        assert merged.converted(RATES, LATER) == whole[span].converted(RATES, LATER)


@given(ROWS)
def test_prices_and_payers_at_an_instant_are_those_of_the_subscriptions(rows):
    of = history(rows)
    payers = of.payers_at(INSTANTS).tolist()
    for instant, count in zip(INSTANTS.tolist(), payers, strict=True):
        mrr, price = states(rows, instant)
        found = of.price_at(instant)
        told = {
            (int(c), int(k)): int(p)
            for c, k, p in zip(of.account_customer, of.account_currency, found, strict=True)
            if p
        }
        assert told == {account: p for account, p in price.items() if p}
        assert count == len({who for (who, _), v in mrr.items() if v > 0})


@given(ROWS)
def test_what_the_actions_repeat_changes_nothing(rows):
    """A renewal on the same terms, or the same action sent again, is no news."""
    assert summary(history(rows))[:-1] == summary(history([*rows, *rows]))[:-1]


def row(subscription: int, second: int, action: str, amount: int = UNKNOWN, **more: int) -> dict:
    given = {"discount": 0, "currency": 0, "interval": 2, "effective": second * SECOND, "recorded": second * SECOND}
    return {"subscription": subscription, "action": action, "amount": amount, **given, **more}


def mrr(rows: list[dict], convention: Convention, instant: int = 40) -> Fraction:
    found = changes(history(rows, convention), np.array([0, instant * SECOND]), [(0, 1)])[0, 1]
    return found.converted(RATES, RATES).end


@pytest.mark.parametrize(
    ("name", "week", "day", "discounted", "announced"),
    [
        ("exact", Fraction(52, 12), Fraction(365, 12), True, False),
        ("chartmogul", Fraction(52, 12), Fraction(365, 12), True, False),
        ("stripe", Fraction(52, 12), Fraction(365, 12), True, False),
        ("paddle", Fraction("4.33"), 30, False, True),
        ("segmentio", 4, 28, True, False),
    ],
)
def test_conventions_are_as_published(name, week, day, discounted, announced):
    convention = CONVENTIONS[name]
    assert mrr([row(0, 1, "start", 700, interval=1)], convention) == 700 * week
    assert mrr([row(0, 1, "start", 700, interval=0)], convention) == 700 * day
    assert mrr([row(0, 1, "start", 120_000, interval=5)], convention) == 10_000  # Stripe: 1,200 a year are 100
    assert mrr([row(0, 1, "start", 700, discount=100)], convention) == (600 if discounted else 700)
    leaves = [row(0, 1, "start", 700), row(0, 90, "cancel", recorded=5 * SECOND)]
    assert mrr(leaves, convention) == (0 if announced else 700)


def test_a_month_must_have_a_number_of_weeks_that_units_can_hold():
    with pytest.raises(ValueError, match="1/1200"):
        _ = Convention(week=Fraction("4.3482142857")).units
    assert UNITS == 1200


def test_published_example_five_customers_then_two_on_a_dearer_plan():
    """ChartMogul: 5 at $5 are $25, two more at $30 make $85."""
    rows = [row(n, 1, "start", 500) for n in range(5)]
    assert mrr(rows, CONVENTIONS["chartmogul"]) == 2500
    assert mrr([*rows, row(5, 2, "start", 3000), row(6, 2, "start", 3000)], CONVENTIONS["chartmogul"]) == 8500


def test_amounts_come_in_the_sources_minor_units():
    given = actions([row(0, 1, "start", 150_050), row(1, 1, "start", 900)])
    scaled = Actions(**{f.name: getattr(given, f.name) for f in fields(given)} | {"decimals": np.array([-2, 0])})
    found = recurring(scaled, CONVENTIONS["exact"], CUSTOMERS, CURRENCIES)
    assert found.price_at(10 * SECOND).tolist() == [1500, 900]


def test_a_subscription_that_passes_to_another_customer_is_churn_and_new():
    given = actions([row(0, 1, "start", 1000), row(0, 25, "renew", 1000)])
    passed = Actions(**{f.name: getattr(given, f.name) for f in fields(given)} | {"customer": np.array([0, 1])})
    found = changes(recurring(passed, CONVENTIONS["exact"], 2, CURRENCIES), INSTANTS, SPANS)[1, 2]
    assert (found.customers.churned, found.customers.new, found.customers.end) == (1, 1, 1)
    assert found.converted(RATES, RATES).rows()["churn"] == 1000


def test_a_rate_is_only_asked_for_where_there_is_something_to_convert():
    missing = Undefined("no rate of JPY/EUR")
    found = changes(history([row(0, 15, "start", 1000, currency=1)]), INSTANTS, SPANS)
    assert found[0, 1].converted([missing] * 3, [missing, Fraction(2), missing]).rows()["new"] == 2000
    assert found[1, 2].converted([missing] * 3, [missing, Fraction(2), missing]) == missing
    assert found[1, 2].converted([missing, Fraction(2), missing], [missing] * 3) == missing


def test_nothing_gives_nothing():
    empty = recurring(actions([]), CONVENTIONS["exact"], 0, 0)
    found = changes(empty, INSTANTS, SPANS)[0, 3]
    assert found.customers.end == 0
    assert found.converted([], []).rows()["end"] == 0
    assert average_payers(empty, INSTANTS) == 0
    assert changes(empty, INSTANTS, []) == {}


def test_movements_that_do_not_add_up_are_never_told():
    zero = np.zeros(1, dtype=np.int64)
    moved = np.zeros((5, 1), dtype=np.int64)
    moved[0] = 7
    with pytest.raises(ArithmeticError, match="does not add up"):
        Amounts(zero, moved, zero, zero, zero)


def test_amounts_too_large_to_be_added_up_are_refused():
    rows = [row(n % 7, 1 + n, "start", 10**12, interval=0) for n in range(200)]
    with pytest.raises(BadInput, match="minor units"):
        history(rows)


def test_the_average_of_payers_is_over_days():
    rows = [row(0, 5, "start", 100), row(1, 15, "start", 100), row(0, 35, "cancel")]
    assert average_payers(history(rows), INSTANTS) == Fraction(1 + 2 + 2 + 1, 4)
