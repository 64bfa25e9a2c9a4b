"""Lifetime values from a lake against a plain recomputation of its purchases and contracts, and the edges of both."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from tests.support.analytical import check_declaration, collect, portable, values, window_to
from tests.support.lake_files import instant, rows, write_lake

from collectors.analytics.clv import bg_nbd, gamma_gamma, rfm, sbg
from collectors.analytics.clv.report import SCHEMA
from collectors.analytics.refusal import Reason, Refusal
from collectors.catalog.business.customer_lifetime_value import CustomerLifetimeValueCollector
from collectors.catalog.business.lifetime.queries import offsets
from collectors.contract.collector import CollectorContext
from collectors.errors import LifecycleError
from collectors.lake.duckdb_engine import DuckDBEngine
from collectors.lake.engine import TenantView
from collectors.model.metric import Collection
from collectors.model.status import TenantInfo

BERLIN = "Europe/Berlin"
END = instant(2026, 11, 1, 17, 30)


def charge(customer: str, when: datetime, minor: int, currency: str = "EUR", **more: object) -> dict[str, object]:
    fixed = {"tenant_id": "a", "customer_id": customer.encode(), "event_time": when, "payment_id": "p"}
    return {**fixed, "kind": "charge", "amount_minor": minor, "currency": currency, "status": "succeeded", **more}


def action(subscription: str, when: datetime, what: str, **more: object) -> dict[str, object]:
    fixed = {"tenant_id": "a", "customer_id": b"c", "subscription_id": subscription, "event_time": when}
    return {**fixed, "action": what, **more}


def shop(seed: int, end: datetime, customers: int = 500, days: int = 400) -> list[dict]:
    """Draw customers of a BG/NBD shop with Gamma-Gamma spend, some buying more than once a day."""
    rng = np.random.default_rng(seed)
    bought = []
    for number in range(customers):
        rate, leave, scale = rng.gamma(0.9, 1 / 25), rng.beta(0.9, 3.0), rng.gamma(4.0)
        at = end - timedelta(days=float(rng.uniform(1, days)))
        while at < end:
            minor = 1 + int(100 * rng.gamma(6.0) * 15 / scale)
            bought.append(charge(f"c{number}", at, minor))
            if rng.random() < 0.1:
                bought.append(charge(f"c{number}", at + timedelta(seconds=1), 250))
            if rng.random() < leave:
                break
            at += timedelta(days=float(rng.exponential(1 / rate)))
    return [one for one in bought if one["event_time"] < end]


def noise(end: datetime) -> list[dict]:
    """Payments that are no purchase a la carte."""
    when = end - timedelta(days=30)
    return [
        charge("c1", when, 999, period_start=when, period_end=when + timedelta(days=30)),
        charge("c2", when, 500, status="failed"),
        charge("c3", when, 500, status="pending"),
        charge("c4", when, 0),
        {**charge("c5", when, 500), "kind": "refund"},
        {**charge("c6", when, 500), "kind": "tax"},
        charge("late", end + timedelta(days=1), 500),
        charge("old", end - timedelta(days=2000), 500),
    ]


def subscribers(seed: int, end: datetime, customers: int = 400) -> list[dict]:
    """Draw monthly contracts that are left as the shifted beta-geometric model says, with some noise around them."""
    rng = np.random.default_rng(seed)
    events: list[dict] = []
    for number in range(customers):
        start = datetime(2025, 6 + number % 7, 1 + number % 28, 9, tzinfo=UTC)
        terms = {"amount_minor": 999, "currency": "EUR", "interval": "month", "discount_minor": 100}
        events.append(action(f"s{number}", start, "start", **terms))
        life = int(rng.geometric(max(rng.beta(0.8, 4.0), 1e-3)))
        month = start.month - 1 + life
        gone = start.replace(year=start.year + month // 12, month=month % 12 + 1) if month < 96 else None
        if gone is not None and gone - timedelta(days=10) < end:
            events.append(action(f"s{number}", gone - timedelta(days=10), "cancel", effective_time=gone))
        elif number % 3:
            events.append(action(f"s{number}", start + timedelta(days=31), "renew", **(terms | {"amount_minor": 1099})))
    return events


def run(folder, payments: list[dict], contracts: list[dict], end: datetime = END, **more: object) -> Collection:
    return collect(
        CustomerLifetimeValueCollector, folder, [{"payment": payments, "subscription": contracts}], end, **more
    )


def of(collection: Collection) -> dict:
    return values(collection)


def local_day(when: datetime, zone: str) -> int:
    return (when.astimezone(ZoneInfo(zone)).date() - date(1970, 1, 1)).days


def plain_occasions(payments: list[dict], end: datetime, zone: str) -> tuple[rfm.Occasions, int]:
    last_day = local_day(end - timedelta(microseconds=1), zone) - 1
    good = [
        p
        for p in payments
        if p["kind"] == "charge"
        and p["status"] == "succeeded"
        and p["amount_minor"] > 0
        and "period_start" not in p
        and end - timedelta(days=1826) <= p["event_time"] < end
        and local_day(p["event_time"], zone) <= last_day
    ]
    names = sorted({p["customer_id"] for p in good})
    codes = np.array([names.index(p["customer_id"]) for p in good], dtype=np.int64)
    days = np.array([local_day(p["event_time"], zone) for p in good], dtype=np.int64)
    return rfm.occasions(codes, days, np.array([p["amount_minor"] for p in good], dtype=np.int64)), last_day


@pytest.fixture(scope="module")
def world() -> tuple[list[dict], list[dict]]:
    return shop(3, END) + noise(END), subscribers(4, END)


@pytest.fixture(scope="module")
def full(world, tmp_path_factory) -> Collection:
    return run(tmp_path_factory.mktemp("lake"), *world, zone=BERLIN)


def test_what_is_emitted_was_declared(full) -> None:
    check_declaration(CustomerLifetimeValueCollector, full)
    assert full.issues == ()


def test_queries_stay_in_the_portable_subset() -> None:
    for zone in ("UTC", BERLIN):
        context = CollectorContext(tenant=TenantInfo("a", zone))
        assert portable(CustomerLifetimeValueCollector(context=context), END)


def test_purchases_are_summarised_as_a_plain_recomputation_does(world, full) -> None:
    occasions, last_day = plain_occasions(world[0], END, BERLIN)
    summary = rfm.summarise(occasions, last_day)
    model = bg_nbd.fit(summary.rows)
    spend = gamma_gamma.fit(summary.repeats, summary.mean_spend)
    assert not isinstance(model, Refusal)
    assert not isinstance(spend, Refusal)
    found = of(full)
    assert found["customers", "EUR", "once"] + found["customers", "EUR", "repeat"] == len(summary.first)
    assert found["customers", "EUR", "repeat"] == (summary.repeats > 0).sum()
    for name, value, error in zip(bg_nbd.NAMES, model.estimate.values, model.estimate.standard_errors, strict=True):
        assert found["parameter", "EUR", "bg_nbd", name] == pytest.approx(value, rel=1e-6)
        assert found["parameter_error", "EUR", "bg_nbd", name] == pytest.approx(error, rel=1e-5)
    for name, value in zip(gamma_gamma.NAMES, spend.estimate.values, strict=True):
        assert found["parameter", "EUR", "gamma_gamma", name] == pytest.approx(value, rel=1e-6)
    assert found["log_likelihood", "EUR", "bg_nbd"] == pytest.approx(model.estimate.log_likelihood)
    assert found["customers_alive", "EUR"] == pytest.approx(summary.rows.spread(model.alive(summary.rows)).sum())


def test_cohorts_add_up_to_all_and_lie_in_their_intervals(full) -> None:
    found = of(full)
    for metric in ("expected_purchases", "expected_value"):
        cohorts = [k for k in found if k[0] == metric and k[2] != "all" and k[3] == "estimate"]
        assert len(cohorts) >= 12
        assert sum(found[k] for k in cohorts) == pytest.approx(found[metric, "EUR", "all", "estimate"])
        for k in cohorts:
            assert 0 < found[(*k[:3], "lower")] < found[k] < found[(*k[:3], "upper")]


def test_quantiles_of_customer_value_rise(full) -> None:
    found = of(full)
    quantiles = [found["customer_value", "EUR", q] for q in ("0.1", "0.25", "0.5", "0.75", "0.9", "0.99")]
    assert quantiles == sorted(quantiles)
    assert quantiles[0] >= 0


def test_the_hold_out_is_foretold_within_its_chance(world, full) -> None:
    found = of(full)
    assert abs(found["holdout_error", "EUR"]) < 0.3
    occasions, last_day = plain_occasions(world[0], END, BERLIN)
    now, then = rfm.summarise(occasions, last_day), rfm.summarise(occasions, last_day - 91)
    known = now.first <= last_day - 91
    bought = now.repeats[known] - then.repeats
    for x in range(3):
        assert found["holdout_purchases", "EUR", str(x), "actual"] == pytest.approx(bought[then.repeats == x].mean())
    assert found["cumulative_repeats", "EUR", "0", "actual"] == now.repeats.sum()
    assert found["cumulative_repeats", "EUR", "13", "actual"] == then.repeats.sum()
    model = bg_nbd.fit(then.rows)
    assert not isinstance(model, Refusal)
    expected = model.expected_new((last_day - now.first).astype(float)).sum()
    assert found["cumulative_repeats", "EUR", "0", "expected"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("model", ["mbg_nbd", "pareto_nbd"])
def test_the_purchase_model_is_configured(world, full, tmp_path, model) -> None:
    found = of(run(tmp_path, world[0], [], zone=BERLIN, purchase_model=model))
    assert found["log_likelihood", "EUR", model] == pytest.approx(of(full)["log_likelihood", "EUR", "bg_nbd"], rel=0.01)
    total = of(full)["expected_purchases", "EUR", "all", "estimate"]
    assert found["expected_purchases", "EUR", "all", "estimate"] == pytest.approx(total, rel=0.15)


def renewals_by_loops(contracts: list[dict], last_day: date) -> tuple[list[int], list[int]]:
    """Walk through each contract renewal by renewal."""
    due, left = [0] * 60, [0] * 60
    starts = {c["subscription_id"]: c["event_time"] for c in contracts if c["action"] == "start"}
    ends = {c["subscription_id"]: c["effective_time"] for c in contracts if c["action"] == "cancel"}
    for name, start in starts.items():
        for number in range(1, 60):
            month = start.month - 1 + number
            at = start.replace(year=start.year + month // 12, month=month % 12 + 1).date()
            if at > last_day:
                break
            due[number - 1] += 1
            if name in ends and ends[name].date() <= at:
                left[number - 1] += 1
                break
    return due, left


def test_subscriptions_follow_the_renewals_of_a_plain_walk(world, full) -> None:
    due, left = renewals_by_loops(world[1], date(2026, 10, 31))
    reached = sum(1 for d in due if d)
    model = sbg.fit(sbg.Renewals(np.array(due[:reached]), np.array(left[:reached])))
    assert not isinstance(model, Refusal)
    found = of(full)
    for name, value, error in zip(sbg.NAMES, model.estimate.values, model.estimate.standard_errors, strict=True):
        assert found["subscription_parameter", "month", "all", name] == pytest.approx(value, rel=1e-6)
        assert found["subscription_parameter_error", "month", "all", name] == pytest.approx(error, rel=1e-6)
    assert found["subscriptions", "month", "all", "started"] == 400
    cohorts = [k for k in found if k[0] == "subscriptions" and k[3] == "started" and k[2] != "all"]
    assert [k[2] for k in cohorts] == [f"2025-{m:02d}" for m in range(6, 13)]
    assert sum(found[k] for k in cohorts) == 400
    share = 1.0
    for number in range(5):
        share *= 1 - left[number] / due[number]
        assert found["survival", "month", str(number + 1), "actual"] == pytest.approx(share)
        assert found["survival", "month", str(number + 1), "expected"] == pytest.approx(share, abs=0.05)
    assert abs(found["subscription_holdout_error", "month"]) < 0.1


def test_a_subscription_is_worth_its_latest_price_times_the_renewals_to_come(world, full) -> None:
    found = of(full)
    paid = {}
    for c in sorted(world[1], key=lambda c: c["event_time"]):
        if c["action"] in ("start", "renew"):
            paid[c["subscription_id"]] = c["amount_minor"] - c["discount_minor"]
    ended = {c["subscription_id"] for c in world[1] if c["action"] == "cancel"}
    prices = [price for name, price in paid.items() if name not in ended]
    assert found["subscriptions", "month", "all", "active"] == len(prices)
    remaining = found["remaining_periods", "month", "all", "estimate"]
    assert 0 < remaining < 12
    value = found["subscription_value", "month", "all", "EUR", "estimate"]
    assert value == pytest.approx(remaining * sum(prices), rel=0.05)
    cohorts = [k[2] for k in found if k[0] == "subscription_value" and k[2] != "all" and k[4] == "estimate"]
    assert len(cohorts) == 7
    for cohort in cohorts:  # some are too small, or too young for a year ahead, and say so
        lower, estimate, upper = (
            found["subscription_value", "month", cohort, "EUR", b] for b in ("lower", "estimate", "upper")
        )
        assert estimate is None or 0 < lower < estimate < upper
        assert estimate is None or found["subscription_parameter", "month", cohort, "alpha"] is not None


def test_a_subscription_that_will_end_is_leaving_and_worth_nothing(tmp_path) -> None:
    terms = {"amount_minor": 999, "currency": "EUR", "interval": "month"}
    contracts = [
        action("stays", instant(2026, 8, 10), "start", **terms),
        action("leaves", instant(2026, 8, 10), "start", **terms),
        action("leaves", instant(2026, 10, 20), "cancel", effective_time=instant(2026, 11, 10)),
        action("left", instant(2026, 8, 10), "start", **terms),
        action("left", instant(2026, 9, 20), "cancel"),
        action("back", instant(2026, 8, 10), "start", **terms),
        action("back", instant(2026, 9, 10), "expire"),
        action("back", instant(2026, 9, 15), "reactivate", **terms),
        action("trial", instant(2026, 8, 10), "trial", **terms),
        action("trial", instant(2026, 8, 20), "expire"),
        action("unseen", instant(2026, 8, 10), "renew", **terms),
        action("future", instant(2026, 10, 30), "start", effective_time=instant(2026, 11, 15), **terms),
    ]
    found = of(run(tmp_path, [], contracts))
    assert found["subscriptions", "month", "all", "started"] == 4
    assert found["subscriptions", "month", "all", "active"] == 1
    assert found["subscriptions", "month", "all", "leaving"] == 1
    assert found["survival", "month", "1", "actual"] == pytest.approx(3 / 4)
    assert found["survival", "month", "2", "actual"] == pytest.approx(3 / 4 * 2 / 3)


def test_where_everybody_left_nothing_is_worth_anything(world, tmp_path) -> None:
    starts = [c for c in world[1] if c["action"] == "start"]
    life = [n for n, many in enumerate((300, 50, 20, 10, 8, 5, 4, 3), start=1) for _ in range(many)]
    ends = [
        action(c["subscription_id"], c["event_time"] + timedelta(days=30 * months), "cancel")
        for c, months in zip(starts, life, strict=True)
    ]
    collection = run(tmp_path, [], starts + ends, holdout_days=61)
    reasons = {
        s.metric.rsplit(".", 1)[1]: s.reason for s in collection.samples if s.value is None and "all" in s.labels
    }
    assert reasons["next_renewal"] == reasons["subscription_value"] == "no subscription is active"
    judged = [s.reason for s in collection.samples if s.metric.endswith("subscription_holdout_error")]
    assert judged == ["nobody is left of those before the split"]


def test_an_empty_tenant_has_nulls_with_reasons(tmp_path) -> None:
    collection = run(tmp_path, [{**charge("x", END, 1), "tenant_id": "b"}], [])
    check_declaration(CustomerLifetimeValueCollector, collection)
    found = of(collection)
    assert found["customers", "XXX", "once"] == 0
    assert found["parameter", "XXX", "bg_nbd", "r"] is None
    assert found["subscriptions", "month", "all", "active"] == 0
    reasons = {s.reason for s in collection.samples if s.value is None}
    assert "there are no customers" in reasons
    assert "no renewal has come due yet" in reasons


def test_a_horizon_beyond_the_data_is_refused(world, tmp_path) -> None:
    collection = run(tmp_path, *world, zone=BERLIN, horizon_days=800)
    found = of(collection)
    assert found["expected_purchases", "EUR", "all", "estimate"] is None
    assert found["remaining_periods", "month", "all", "upper"] is None
    reasons = {s.reason for s in collection.samples if s.value is None}
    assert sum("extrapolation" in reason for reason in reasons) >= 2
    assert found["parameter", "EUR", "bg_nbd", "r"] is not None
    assert of(run(tmp_path / "far", *world, zone=BERLIN, horizon_days=800, max_extrapolation=3.0))[
        "expected_purchases", "EUR", "all", "estimate"
    ]


def test_a_history_shorter_than_the_hold_out_is_not_judged(world, tmp_path) -> None:
    collection = run(tmp_path, *world, zone=BERLIN, holdout_days=210)
    reasons = {s.metric.rsplit(".", 1)[1]: s.reason for s in collection.samples if s.value is None}
    assert reasons["holdout_error"] == "the history before the split is shorter than the time since"
    assert reasons["cumulative_repeats"] == reasons["holdout_purchases"] == reasons["holdout_error"]


def test_spend_that_depends_on_frequency_is_not_valued(tmp_path) -> None:
    bought = shop(3, END)
    times = Counter(p["customer_id"] for p in bought)
    payments = [p | {"amount_minor": 100 * times[p["customer_id"]]} for p in bought]
    collection = run(tmp_path, payments, [])
    found = of(collection)
    assert found["spend_correlation", "EUR"] > 0.9
    assert found["expected_value", "EUR", "all", "estimate"] is None
    assert any("correlate" in s.reason for s in collection.samples if s.metric.endswith("expected_value"))


def test_currencies_are_apart_and_at_most_eight(world, tmp_path) -> None:
    dollars = [p | {"currency": "USD"} for p in world[0]]
    others = [charge("x", END - timedelta(days=9), 5, f"C{n:02d}") for n in range(9)]
    collection = run(tmp_path, world[0] + dollars + others, [], zone=BERLIN)
    found = of(collection)
    assert found["expected_value", "USD", "all", "upper"] == found["expected_value", "EUR", "all", "upper"]
    assert len({k[1] for k in found if k[0] == "customers"}) == 8
    assert [issue.code for issue in collection.issues] == ["too_many_currencies"]


def test_prices_in_more_than_eight_currencies_are_left_out(world, full, tmp_path) -> None:
    left = {c["subscription_id"] for c in world[1] if c["action"] == "cancel"}
    stay = sorted({c["subscription_id"] for c in world[1]} - left)
    rare = {subscription: f"C{n:02d}" for n, subscription in enumerate(stay[:9])}
    contracts = [c | {"currency": rare.get(c["subscription_id"], "EUR")} for c in world[1]]
    collection = run(tmp_path, [], contracts, zone=BERLIN)
    found, before = of(collection), of(full)
    names = {k[3] for k in found if k[0] == "subscription_value"}
    assert names - {"XXX"} == {"EUR", *sorted(rare.values())[:7]}
    assert [(i.code, "subscriptions" in i.message) for i in collection.issues] == [("too_many_currencies", True)]
    everyone = "remaining_periods", "month", "all", "estimate"
    assert found[everyone] == pytest.approx(before[everyone])  # who pays in a rare currency is counted all the same
    value = "subscription_value", "month", "all", "EUR", "estimate"
    assert found[value] < before[value]


def test_order_and_batches_do_not_matter(world, full, tmp_path) -> None:
    payments, contracts = (list(events) for events in world)
    rng = random.Random(8)
    rng.shuffle(payments)
    rng.shuffle(contracts)
    third = len(payments) // 3
    batches = [
        {"payment": payments[:third], "subscription": contracts[:50]},
        {"payment": payments[third:]},
        {"subscription": contracts[50:]},
    ]
    other = collect(CustomerLifetimeValueCollector, tmp_path, batches, END, zone=BERLIN)
    assert of(other) == of(full)


def test_every_customer_is_foretold_in_a_table(world, full, tmp_path) -> None:
    snapshot = write_lake(tmp_path, [{"payment": rows("payment", world[0])}], lambda _tenant: BERLIN)

    async def provide():
        return snapshot

    async def predict(currency: str) -> pa.Table | Refusal:
        engine = DuckDBEngine()
        context = CollectorContext(tenant=TenantInfo("a", BERLIN), lake=TenantView(engine, "a", provide))
        try:
            return await CustomerLifetimeValueCollector(context=context).predictions(window_to(END), currency)
        finally:
            await engine.close()

    table = asyncio.run(predict("EUR"))
    assert isinstance(table, pa.Table)
    assert table.schema == SCHEMA
    found = of(full)
    assert table.num_rows == found["customers", "EUR", "once"] + found["customers", "EUR", "repeat"]
    total = sum(table.column("expected_value_minor").to_pylist())
    assert total == pytest.approx(found["expected_value", "EUR", "all", "estimate"])
    assert len(set(table.column("customer_id").to_pylist())) == table.num_rows
    nobody = asyncio.run(predict("JPY"))
    assert nobody == Refusal(Reason.NO_SUBJECTS, "there are no customers")


def test_without_a_lake_there_is_nothing_to_ask() -> None:
    with pytest.raises(LifecycleError):
        asyncio.run(CustomerLifetimeValueCollector().collect(window_to(END)))


def test_offsets_of_a_zone_change_at_the_second_its_clocks_do() -> None:
    found = offsets(BERLIN, instant(2026, 1, 1), instant(2026, 12, 31))
    changes = [instant(2026, 3, 29, 1), instant(2026, 10, 25, 1)]
    assert [(until, offset) for until, offset in found[:-1]] == [
        (int(changes[0].timestamp()), 3600),
        (int(changes[1].timestamp()), 7200),
    ]
    assert found[-1][1] == 3600
    assert offsets("UTC", instant(2026, 1, 1), instant(2026, 12, 31))[:-1] == []
