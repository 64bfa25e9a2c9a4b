"""What people would try on the revenue metrics, each case small enough to be worked out by hand."""

from __future__ import annotations

import itertools
import random
from datetime import timedelta

import numpy as np
import pytest
from pydantic import ValidationError
from revenue_support import action, batch, payment, run
from tests.support.analytical import Values, check_declaration, portable, values, window_to
from tests.support.lake_files import instant, micros

from collectors.analytics.recurring import ACTIONS, CONVENTIONS, INTERVALS, UNKNOWN, Actions, recurring
from collectors.analytics.revenue import changes
from collectors.catalog.business.revenue.queries import Calendar
from collectors.catalog.business.revenue_metrics import RevenueMetricsCollector
from collectors.contract.collector import CollectorContext
from collectors.model.metric import Collection
from collectors.model.status import TenantInfo

EUR = TenantInfo("a", "UTC", "EUR")
END = instant(2026, 4, 16)  # so the last month is March
JAN, FEB, MAR, APR = (instant(2026, month, 10) for month in (1, 2, 3, 4))


@pytest.fixture
def told(tmp_path):
    """Collect from records loaded one batch after the other, and return the values by metric and labels."""
    folders = (tmp_path / str(n) for n in itertools.count())

    def collected(*batches, tenant: TenantInfo = EUR, end=END, **config: object) -> Values:
        return values(run(next(folders), [batch(records) for records in batches], tenant, end, **config))

    return collected


def moves(found: Values, ago: int, currency: str = "EUR") -> dict[str, float]:
    """Return what moved in a month, without what did not."""
    rows = ("start", "new", "expansion", "reactivation", "contraction", "churn", "end")
    return {
        row: found["mrr_movement", currency, str(ago), row]
        for row in rows
        if found["mrr_movement", currency, str(ago), row]
    }


def test_each_interval_is_a_month_by_the_exact_convention(told):
    prices = {"day": 12, "week": 300, "month": 1000, "quarter": 3000, "half_year": 6000, "year": 12_000}
    found = told([action(name, JAN, "start", price, interval=name) for name, price in prices.items()])
    assert found["mrr", "EUR"] == 12 * 365 / 12 + 300 * 52 / 12 + 4 * 1000
    assert found["arr", "EUR"] == 12 * 365 + 300 * 52 + 4 * 12_000


@pytest.mark.parametrize(
    ("convention", "weekly", "daily"),
    [
        ("exact", 433.33, 304.17),
        ("chartmogul", 433.33, 304.17),
        ("stripe", 433.33, 304.17),
        ("paddle", 433, 300),
        ("segmentio", 400, 280),
    ],
)
def test_a_convention_says_how_many_weeks_and_days_a_month_has(told, convention, weekly, daily):
    weeks = told([action("s", JAN, "start", 100_00, interval="week")], convention=convention)
    days = told([action("s", JAN, "start", 10_00, interval="day")], convention=convention)
    assert (weeks["mrr", "EUR"], days["mrr", "EUR"]) == (round(weekly * 100), round(daily * 100))


def test_discounts_count_as_the_convention_or_the_configuration_has_it(told):
    records = [action("s", JAN, "start", 1000, discount_minor=250)]
    assert told(records)["mrr", "EUR"] == 750
    assert told(records, convention="paddle")["mrr", "EUR"] == 1000
    assert told(records, convention="paddle", discounts="deducted")["mrr", "EUR"] == 750
    assert told([action("s", JAN, "start", 1000, discount_minor=1500)])["mrr", "EUR"] == 0


def test_annual_prices_are_not_rounded_before_they_are_added_up(told):
    found = told([action(f"s{n}", JAN, "start", 99_99, interval="year") for n in range(3)])
    assert found["arr", "EUR"] == 3 * 99_99
    assert found["mrr", "EUR"] == 2500  # 2499.75; three rounded 833.25 would be 2499


def test_a_life_of_a_customer_is_told_month_by_month(told):
    found = told(
        [
            action("s", instant(2025, 10, 5), "trial", 0),
            action("s", instant(2025, 10, 19), "start", 1000),
            action("s", instant(2025, 11, 19), "change", 1500),
            action("s", instant(2025, 12, 19), "change", 1200),
            action("s", instant(2026, 1, 3), "cancel", effective_time=instant(2026, 1, 19)),
            action("s", instant(2026, 3, 19), "reactivate", 900),
        ]
    )
    assert moves(found, 6) == {"new": 1000, "end": 1000}
    assert moves(found, 5) == {"start": 1000, "expansion": 500, "end": 1500}
    assert moves(found, 4) == {"start": 1500, "contraction": 300, "end": 1200}
    assert moves(found, 3) == {"start": 1200, "churn": 1200}
    assert moves(found, 2) == {}
    assert moves(found, 1) == {"reactivation": 900, "end": 900}
    assert moves(found, 0) == {"start": 900, "end": 900}
    assert found["customers", "1", "reactivation"] == 1
    assert found["customers", "1", "new"] == 0


def test_one_of_several_subscriptions_that_ends_is_a_contraction_and_the_last_one_churn(told):
    found = told(
        [
            action("one", JAN, "start", 1000, customer="c"),
            action("two", JAN, "start", 500, customer="c"),
            action("two", FEB, "cancel", customer="c"),
            action("one", MAR, "cancel", customer="c"),
        ]
    )
    assert moves(found, 3) == {"new": 1500, "end": 1500}
    assert moves(found, 2) == {"start": 1500, "contraction": 500, "end": 1000}
    assert moves(found, 1) == {"start": 1000, "churn": 1000}
    assert (found["customers", "2", "churn"], found["customers", "1", "churn"]) == (0, 1)


def test_a_second_subscription_is_an_expansion(told):
    found = told([action("one", JAN, "start", 1000, customer="c"), action("two", FEB, "start", 500, customer="c")])
    assert moves(found, 2) == {"start": 1000, "expansion": 500, "end": 1500}
    assert found["arpa", "EUR"] == 1500


def test_a_pause_pays_nothing_until_it_ends(told):
    records = [action("s", JAN, "start", 1000), action("s", FEB, "pause"), action("s", MAR, "resume")]
    found = told(records)
    assert moves(found, 2) == {"start": 1000, "churn": 1000}
    assert moves(found, 1) == {"reactivation": 1000, "end": 1000}


def test_trials_and_free_plans_are_no_customers(told):
    found = told([action("t", MAR, "trial", 999), action("f", MAR, "start", 0)])
    assert found["mrr", "EUR"] == 0
    assert found["customers", "0", "end"] == 0


def test_a_plan_that_begins_and_ends_in_a_month_is_no_movement_but_its_customer_is_not_new_again(told):
    early = [action("s", MAR, "start", 1000), action("s", MAR + timedelta(days=2), "expire")]
    found = told([*early, action("s", APR, "reactivate", 1000)])
    assert moves(found, 1) == {}
    assert moves(found, 0) == {"reactivation": 1000, "end": 1000}


def test_a_change_in_mid_month_counts_from_its_day(told):
    records = [action("s", JAN, "start", 1000), action("s", APR, "change", 1700)]
    assert told(records, end=APR)["mrr", "EUR"] == 1000
    assert told(records, end=APR + timedelta(microseconds=1))["mrr", "EUR"] == 1700


def test_an_announced_end_is_void_if_the_customer_reactivates_before_it(told):
    leaving = [action("s", JAN, "start", 1000), action("s", MAR, "cancel", effective_time=APR)]
    assert told(leaving)["mrr", "EUR"] == 0
    stays = [*leaving, action("s", MAR + timedelta(days=3), "reactivate")]
    assert told(stays)["mrr", "EUR"] == 1000


def test_paddle_deducts_a_cancellation_when_it_is_announced(told):
    records = [action("s", JAN, "start", 1000), action("s", MAR, "cancel", effective_time=instant(2026, 4, 28))]
    assert told(records)["mrr", "EUR"] == 1000
    assert told(records, convention="paddle")["mrr", "EUR"] == 0
    assert told(records, ended="announced")["mrr", "EUR"] == 0


def test_a_planned_change_does_not_revive_what_has_ended(told):
    records = [
        action("s", JAN, "start", 1000),
        action("s", FEB, "change", 800, effective_time=APR),
        action("s", MAR, "cancel"),
    ]
    assert told(records)["mrr", "EUR"] == 0


def test_amounts_of_currencies_without_cents_and_with_mills_are_exact(told):
    rates = {"KWD/EUR": {"2026-04-10": "2.80"}, "EUR/JPY": {"2026-04-10": "160"}}
    found = told(
        [action("k", JAN, "start", 4_500, currency="KWD"), action("j", JAN, "start", 980, currency="JPY")],
        exchange={"source": "a bank", "rates": rates},
    )
    assert (found["mrr", "KWD"], found["mrr", "JPY"]) == (4500, 980)
    assert found["mrr_converted", "EUR"] == 12_60 + 6_12  # 12.60 and 6.125, rounded once: 18.725 is 18.72
    assert found["arr_converted", "EUR"] == 22470


def test_a_source_may_have_other_minor_units_than_iso_4217(told):
    records = [
        action("s", JAN, "start", 150_000, currency="ISK", source="stripe"),
        action("t", JAN, "start", 900, currency="ISK", source="own"),
    ]
    paid = [
        payment(
            "s", MAR, 150_000, currency="ISK", source="stripe", period_start=MAR, period_end=MAR + timedelta(days=10)
        )
    ]
    found = told([*records, *paid], minor_units={"stripe": "stripe"})
    assert found["mrr", "ISK"] == 1_500 + 900
    assert found["net_payments", "ISK", "1"] == found["recognised", "ISK", "1"] == 1_500
    named = told([*records, *paid], minor_units={"stripe": {"ISK": 2}, "own": "iso"})
    assert named == found


def test_exchange_rates_have_a_row_of_their_own(told):
    rates = {"USD/EUR": {"2026-02-28": "0.90", "2026-03-31": "0.80", "2026-04-15": "0.75"}}
    found = told(
        [
            action("e", FEB, "start", 1000),
            action("u", FEB, "start", 2000, currency="USD"),
            action("v", MAR, "start", 500, currency="USD"),
        ],
        exchange={"source": "a bank", "rates": rates},
    )

    def converted(ago: int) -> list[float]:
        rows = ("start", "new", "expansion", "reactivation", "contraction", "churn", "fx", "end")
        return [found["mrr_movement_converted", "EUR", str(ago), row] for row in rows]

    assert converted(1) == [2800, 400, 0, 0, 0, 0, -200, 3000]
    assert converted(0) == [3000, 0, 0, 0, 0, 0, -125, 2875]
    assert found["net_mrr_churn", "last_month"] == 0
    assert found["cohort_nrr", "last_month"] == 1


def test_the_reporting_currency_and_the_pivot_of_its_rates_can_be_named(told):
    rates = {"EUR/USD": {"2026-04-15": "1.25"}, "EUR/JPY": {"2026-04-15": "160"}}
    records = [action("s", APR, "start", 1600, currency="JPY")]
    exchange = {"source": "a bank", "rates": rates}
    found = told(records, reporting_currency="USD", exchange={**exchange, "pivot": "EUR"})
    assert found["mrr_converted", "USD"] == 12_50
    assert told(records, reporting_currency="USD", exchange=exchange)["mrr_converted", "USD"] is None


def test_a_missing_rate_leaves_converted_values_undefined_and_names_the_pair(tmp_path):
    records = [action("u", JAN, "start", 2000, currency="USD"), payment("u", MAR, 2000, currency="USD")]
    found = run(tmp_path, [batch(records)], EUR, END, exchange={"source": "a bank"})
    check_declaration(RevenueMetricsCollector, found)
    undefined = {s.metric.rsplit(".", 1)[1]: s.reason for s in found.samples if s.value is None}
    converted = (
        "mrr_converted",
        "arr_converted",
        "mrr_movement_converted",
        "arpa",
        "arppu",
        "cohort_nrr",
        "recognised_converted",
    )
    for metric in converted:
        assert "USD/EUR" in undefined[metric], metric
        assert "a bank" in undefined[metric]
    assert values(found)["mrr", "USD"] == 2000
    assert values(found)["logo_churn", "last_month"] == 0


def test_who_moves_to_another_currency_neither_leaves_nor_is_new(told):
    rates = {"USD/EUR": {"2026-03-31": "0.80", "2026-04-15": "0.80", "2026-02-28": "0.80"}}
    records = [action("s", FEB, "start", 1000), action("s", MAR, "change", 1500, currency="USD")]
    found = told(records, exchange={"source": "a bank", "rates": rates})
    assert moves(found, 1) == {"start": 1000, "contraction": 1000}
    assert moves(found, 1, "USD") == {"expansion": 1500, "end": 1500}
    assert found["mrr_movement_converted", "EUR", "1", "expansion"] == 200
    assert found["mrr_movement_converted", "EUR", "1", "contraction"] == 0
    assert found["cohort_nrr", "last_month"] == 1.2
    assert found["cohort_grr", "last_month"] == 1


def test_rates_of_a_month_follow_their_definitions(told):
    records = [action(f"old{n}", JAN, "start", 1000) for n in range(10)]
    records += [
        action("back", JAN, "start", 1000),
        action("back", FEB, "cancel"),
        action("back", MAR, "reactivate", 400),
    ]
    records += [
        action("old0", MAR, "cancel"),
        action("old1", MAR, "change", 700),
        action("old2", MAR, "change", 1500),
        action("fresh", MAR, "start", 600),
    ]
    found = told(records)
    of_march = {
        metric: found[metric, "last_month"]
        for metric in ("gross_mrr_churn", "net_mrr_churn", "cohort_nrr", "cohort_grr", "quick_ratio", "logo_churn")
    }
    assert of_march == {
        "gross_mrr_churn": 0.13, "net_mrr_churn": 0.04, "cohort_nrr": 0.92, "cohort_grr": 0.87,
        "quick_ratio": 1500 / 1300, "logo_churn": 0.1,
    }  # fmt: skip
    assert of_march["cohort_nrr"] != 1 - of_march["net_mrr_churn"]  # because somebody came back


def test_retention_over_a_year_compares_the_last_whole_twelve_months(told):
    records = [action("stays", instant(2025, 3, 1), "start", 1000), action("goes", instant(2025, 3, 1), "start", 1000)]
    records += [action("stays", JAN, "change", 1600), action("goes", JAN, "cancel"), action("new", JAN, "start", 5000)]
    found = told(records)
    assert found["cohort_nrr", "last_12_months"] == 0.8
    assert found["cohort_grr", "last_12_months"] == 0.5


def test_money_that_goes_back_counts_on_its_own_day(told):
    found = told(
        [
            payment("c", JAN, 1000),
            payment("c", JAN, 77, status="failed"),
            payment("c", JAN, 66, status="pending"),
            payment("c", FEB, 400, "refund"),
            payment("c", FEB, 600, "chargeback"),
            payment("c", MAR, 600, "chargeback_reversal"),
            payment("c", MAR, 190, "tax"),
            payment("c", MAR, 30, "fee"),
        ]
    )
    assert [found["net_payments", "EUR", ago] for ago in "3210"] == [1000, -1000, 600, 0]
    assert [found["recognised", "EUR", ago] for ago in "3210"] == [1000, -1000, 600, 0]
    assert found["payments", "EUR", "1", "tax"] == 190
    assert found["payments", "EUR", "1", "fee"] == 30


def test_an_annual_charge_is_earned_day_by_day_in_local_months(told):
    begin, end = instant(2025, 12, 31, 23), instant(2026, 12, 31, 23)  # the year 2026 in Berlin
    records = [payment("c", begin, 36_500, period_start=begin, period_end=end)]
    found = told(records, tenant=TenantInfo("a", "Europe/Berlin", "EUR"))
    assert [found["recognised", "EUR", ago] for ago in "43210"] == [0, 3100, 2800, 3100, 1500]
    assert found["deferred", "EUR"] == 36_500 - 3100 - 2800 - 3100 - 1500
    assert found["net_payments", "EUR", "3"] == 36_500


def test_arpu_is_revenue_by_average_daily_subscribers_by_months(told):
    begin = instant(2026, 1, 1)
    records = [action("all", begin, "start", 1000), action("half", instant(2026, 2, 15), "start", 1000)]
    records += [
        payment("all", instant(2026, m, 1), 1000, period_start=instant(2026, m, 1), period_end=instant(2026, m + 1, 1))
        for m in (1, 2, 3)
    ]
    records += [payment("half", instant(2026, 3, 1), 500)]
    found = told(records)
    subscribers = (31 + 28 + 31 + 14 + 31) / 90
    assert found["average_daily_subscribers", "last_3_months"] == pytest.approx(subscribers)
    assert found["arpu", "EUR", "last_3_months"] == pytest.approx(3500 / subscribers / 3)
    assert found["arpu", "EUR", "last_month"] == 750
    assert found["arppu", "EUR", "last_3_months"] == 1750
    assert found["arppu", "EUR", "last_month"] == 750


def test_a_late_event_corrects_the_month_it_belongs_to(told):
    first = [action("s", JAN, "start", 1000), payment("s", JAN, 1000)]
    late = [action("s", FEB, "change", 1300), payment("s", FEB, 1300)]
    assert moves(told(first), 2) == {"start": 1000, "end": 1000}
    found = told(first, late)
    assert moves(found, 2) == {"start": 1000, "expansion": 300, "end": 1300}
    assert found["net_payments", "EUR", "2"] == 1300


def test_payments_are_reconciled_with_subscriptions(told):
    month = {"period_start": APR, "period_end": instant(2026, 5, 10)}
    names = ("matched", "under", "over", "unpaid", "refunded")
    records = [action(name, APR, "start", 1000) for name in names]
    paid = {"matched": 1000, "under": 400, "over": 1200, "nobody": 500, "refunded": 1000}
    records += [payment(name, APR, amount, **month) for name, amount in paid.items()]
    records += [
        payment("refunded", APR, 1000, "refund", **month),
        payment("unpaid", FEB, 1000, period_start=FEB, period_end=MAR),
    ]
    found = told(records)
    outcomes = {
        name: (found["reconciliation_accounts", "EUR", name], found["reconciliation_difference", "EUR", name])
        for name in ("matched", "prorated", "underpaid", "overpaid", "unpaid", "unexpected")
    }
    assert outcomes == {
        "matched": (1, 0), "prorated": (0, 0), "underpaid": (1, -600), "overpaid": (1, 200), "unpaid": (2, -2000),
        "unexpected": (1, 500),
    }  # fmt: skip


@pytest.mark.parametrize("extra", [None, 250])
def test_a_change_in_mid_period_explains_what_was_paid(told, extra):
    """Half of the period was left, so half of the difference is due, now or with the next invoice."""
    end = APR + timedelta(days=30)
    change = APR + timedelta(days=15)
    records = [
        action("s", APR, "start", 1000),
        action("s", change, "change", 1500),
        payment("s", APR, 1000, period_start=APR, period_end=end),
    ]
    if extra:
        records.append(payment("s", change, extra, period_start=change, period_end=end))
    found = told(records, end=change + timedelta(days=1))
    assert found["reconciliation_accounts", "EUR", "prorated"] == 1


def test_months_and_days_are_those_of_the_tenant(told):
    last_hour = instant(2026, 3, 31, 22, 30)  # already April in Berlin, still March in New York
    records = [action("s", last_hour, "start", 1000), payment("s", last_hour, 1000)]
    berlin = told(records, tenant=TenantInfo("a", "Europe/Berlin", "EUR"))
    york = told(records, tenant=TenantInfo("a", "America/New_York", "EUR"))
    assert moves(berlin, 0) == moves(york, 1) == {"new": 1000, "end": 1000}
    assert berlin["net_payments", "EUR", "0"] == york["net_payments", "EUR", "1"] == 1000


def test_two_tenants_in_one_lake_keep_apart(told):
    other = {"tenant_id": "b", "currency": "JPY"}
    records = [
        action("s", MAR, "start", 1000),
        action("s2", MAR, "start", 980, **other),
        payment("s2", MAR, 980, **other),
    ]
    a = told(records)
    b = told(records, tenant=TenantInfo("b", "Asia/Tokyo", "JPY"))
    assert (a["mrr", "EUR"], a["mrr_converted", "EUR"]) == (1000, 1000)
    assert (b["mrr", "JPY"], b["mrr_converted", "JPY"], b["net_payments", "JPY", "1"]) == (980, 980, 980)
    assert not any("JPY" in key for key in a)
    assert not any("EUR" in key for key in b)


def test_a_tenant_without_events_has_undefined_rates_and_no_exception(tmp_path):
    found = run(tmp_path, [], EUR, END)
    undefined = {s.metric.rsplit(".", 1)[1]: s.reason for s in found.samples if s.value is None}
    assert undefined == {
        "arpa": "no customer has MRR",
        "arpu": "no customer paid in this period",
        "arppu": "no customer paid in this period",
        "quick_ratio": "nothing was lost in this period",
        "logo_churn": "there was no customer at the start",
        **dict.fromkeys(
            ("gross_mrr_churn", "net_mrr_churn", "cohort_nrr", "cohort_grr"), "there was no MRR at the start"
        ),
    }
    assert values(found)["mrr_converted", "EUR"] == 0
    assert found.issues == ()


def shuffled(records: list[dict], seed: int, into: int) -> list[list[dict]]:
    """Return the records in another order, split into batches."""
    order = random.Random(seed).sample(records, len(records))
    return [order[n::into] for n in range(into)]


def anything(seed: int, count: int) -> list[dict]:
    """Return actions and payments of a dozen customers in any order of events, many at the same time."""
    rng = random.Random(seed)
    kinds = ("trial", "start", *["renew"] * 6, "change", "pause", "resume", "cancel", "expire", "reactivate")
    records = []
    for _ in range(count):
        when = instant(2025, 4, 1) + timedelta(days=rng.randrange(370), hours=rng.randrange(0, 24, 12))
        number = rng.randrange(12)
        customer = f"c{number}"
        terms = {"currency": rng.choice(("EUR", "EUR", "USD")), "interval": rng.choice(("month", "month", "year"))}
        amount = rng.choice((None, 999, 999, 999, 1499))
        more: dict[str, object] = {**terms, "discount_minor": rng.choice((None, 0, 100))} if amount else {}
        if rng.random() < 0.2:
            more["effective_time"] = when + timedelta(days=9)
        name = f"{customer}/{rng.randrange(2)}"
        records.append(action(name, when, rng.choice(kinds), amount, customer=customer, **more))
        kind, currency = rng.choice(("charge", "refund")), rng.choice(("EUR", "USD"))
        records.append(payment(customer, when, rng.randrange(2000), kind, currency=currency))
    return records


RATES = {"USD/EUR": {f"2025-{m:02}-01": f"0.{80 + m}" for m in range(1, 13)} | {"2026-01-01": "0.7"}}
EXCHANGE = {"source": "a bank", "rates": RATES, "valid_days": 366}


def test_the_order_of_events_and_how_they_are_split_changes_nothing(told):
    records = anything(5, 400)
    first = told(records, exchange=EXCHANGE)
    for seed in range(3):
        assert told(*shuffled(records, seed, into=1 + 2 * seed), exchange=EXCHANGE) == first


@pytest.mark.parametrize("convention", ["exact", "paddle"])
@pytest.mark.parametrize("seed", range(4))
def test_renewals_that_stay_in_the_lake_change_nothing(told, seed, convention):
    """What is told from the reduced history is what the kernel tells from every single action."""
    records = anything(seed, 300)
    found = told(records, convention=convention)
    calendar = Calendar(micros(END), "UTC", 12)
    actions = [r for r in records if "action" in r]
    names = [sorted({r[key] for r in actions}) for key in ("subscription_id", "customer_id")]
    every = Actions(
        subscription=np.array([names[0].index(r["subscription_id"]) for r in actions]),
        customer=np.array([names[1].index(r["customer_id"]) for r in actions]),
        action=np.array([ACTIONS.index(r["action"]) for r in actions]),
        amount=np.array([r.get("amount_minor", UNKNOWN) for r in actions]),
        discount=np.array([r.get("discount_minor") or 0 for r in actions]),
        decimals=np.zeros(len(actions), dtype=np.int64),
        currency=np.array([("EUR", "USD").index(r["currency"]) if "currency" in r else UNKNOWN for r in actions]),
        interval=np.array([INTERVALS.index(r["interval"]) if "interval" in r else UNKNOWN for r in actions]),
        effective=np.array([micros(r.get("effective_time", r["event_time"])) for r in actions]),
        recorded=np.array([micros(r["event_time"]) for r in actions]),
    )
    seen = every.take(np.flatnonzero(every.recorded < micros(END)))
    history = recurring(seen, CONVENTIONS[convention], len(names[1]), 2)
    spans = [(n, n + 1) for n in range(13)]
    for (first, _), change in changes(history, np.array(calendar.instants), spans).items():
        for number, currency in enumerate(("EUR", "USD")):
            rows = change.within(number).rows()
            rows.pop("fx")
            assert {row: found["mrr_movement", currency, str(12 - first), row] for row in rows} == rows


def test_unusable_actions_are_counted_and_left_out(tmp_path):
    records = [
        action("no price", JAN, "start"),
        action("negative", JAN, "start", -5),
        action("absurd", JAN, "start", 2**60),
        action("no interval", JAN, "start", 5, interval=None),
        action("gold", JAN, "start", 5, currency="XAU"),
        action("good", JAN, "start", 5),
    ]
    found = run(tmp_path, [batch(records)], EUR, END)
    assert values(found)["mrr", "EUR"] == 5
    assert {issue.code for issue in found.issues} == {"unpriced", "unknown_currency"}
    assert found.issues[1].message.startswith("5 actions")


def test_more_currencies_than_are_reported_are_an_issue(tmp_path):
    from collectors.analytics.money import EXPONENTS

    records = [payment("c", MAR, 5, currency=code) for code in list(EXPONENTS)[:40]]
    found = run(tmp_path, [batch(records)], EUR, END)
    assert "too_many_currencies" in {issue.code for issue in found.issues}
    assert len({key for key in values(found) if key[0] == "mrr"}) == 32


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York", "Pacific/Apia", "Asia/Kathmandu"])
def test_queries_stay_in_the_portable_subset(zone):
    context = CollectorContext(tenant=TenantInfo("a", zone))
    for config in ({}, {"minor_units": {"stripe": "stripe"}, "convention": "paddle"}):
        assert portable(RevenueMetricsCollector(RevenueMetricsCollector.Config(**config), context), END)


def test_queries_do_not_change_between_two_calls():
    collector = RevenueMetricsCollector()
    one, two = (collector.queries(window_to(END)) for _ in range(2))
    assert all(one[name].equals(two[name]) for name in one)


@pytest.mark.parametrize(
    "config",
    [
        {"convention": "guess"},
        {"months": 3},
        {"reporting_currency": "Euro"},
        {"exchange": {"rates": {"EURUSD": {"2026-01-01": "1.1"}}}},
        {"exchange": {"rates": {"EUR/XXX": {"2026-01-01": "1.1"}}}},
        {"exchange": {"rates": {"EUR/USD": {"2026-01-01": 1.1}}}},
        {"exchange": {"rates": {"EUR/USD": {"2026-01-01": "-1"}}}},
        {"minor_units": {"s": {"EUR": 9}}},
        {"minor_units": {"s": {"XXX": 2}}},
    ],
)
def test_a_wrong_configuration_is_refused(config):
    with pytest.raises(ValidationError):
        RevenueMetricsCollector.Config(**config)


def test_examples_have_input():
    assert all(example.has_input for example in RevenueMetricsCollector.examples())


def test_what_is_emitted_was_declared(tmp_path):
    found: Collection = run(tmp_path, [batch([action("s", JAN, "start", 1000), payment("s", JAN, 1000)])], EUR, END)
    check_declaration(RevenueMetricsCollector, found)
