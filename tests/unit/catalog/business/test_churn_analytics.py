"""Churn analytics against a plain recomputation, subscription by subscription, and planted drivers found again."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from tests.support.analytical import check_declaration, collect, portable, values, window_to
from tests.support.lake_files import instant, rows, write_lake

from collectors.analytics.classification import auc
from collectors.catalog.business.churn_analytics import ChurnAnalyticsCollector
from collectors.catalog.business.churn_features import FEATURES
from collectors.catalog.business.churn_queries import spells
from collectors.contract.collector import CollectorContext
from collectors.errors import LifecycleError
from collectors.lake.duckdb_engine import DuckDBEngine
from collectors.lake.engine import TenantView
from collectors.model.metric import Window
from collectors.model.status import TenantInfo

END = instant(2026, 11, 1, 12)
TODAY = instant(2026, 11, 1)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
BEGINS = ("start", "renew", "resume", "reactivate")
ENDS = ("trial", "cancel", "expire")


def act(customer: str, action: str, when: datetime, subscription: str = "", **more: object) -> dict[str, object]:
    return {
        "tenant_id": "a",
        "event_time": when,
        "customer_id": customer.encode(),
        "user_id": customer.encode(),
        "subscription_id": subscription or f"s-{customer}",
        "action": action,
        "amount_minor": 1000,
        "currency": "EUR",
        "interval": "month",
        **more,
    }


def ask(folder, records, expression):
    snapshot = write_lake(folder, [{"subscription": rows("subscription", records)}])

    async def provide():
        return snapshot

    async def run():
        engine = DuckDBEngine()
        try:
            return await TenantView(engine, "a", provide).query(expression)
        finally:
            await engine.close()

    return asyncio.run(run())


def effective(record) -> datetime:
    return record.get("effective_time") or record["event_time"]


def kept(records) -> list[dict]:
    """Leave out notices that were withdrawn before they took effect."""
    return [
        r
        for r in records
        if not (
            r["action"] in ("cancel", "expire")
            and effective(r) > r["event_time"]
            and any(
                o["subscription_id"] == r["subscription_id"]
                and o["action"] in BEGINS
                and o["event_time"] >= r["event_time"]
                and effective(o) <= effective(r)
                for o in records
            )
        )
    ]


def spells_by_hand(records, end) -> list[tuple]:
    by_subscription = defaultdict(list)
    for r in kept([r for r in records if r["event_time"] < end and r["action"] in BEGINS + ENDS]):
        by_subscription[r["customer_id"], r["subscription_id"]].append(r)
    runs = defaultdict(list)  # of a customer: begin, its record, whether it is known, end, its record
    for (customer, subscription), mine in by_subscription.items():
        mine.sort(key=lambda r: (effective(r), r["event_time"], r["action"] in BEGINS, r["action"]))
        for place, r in enumerate(mine):
            on, was_on = r["action"] in BEGINS, place > 0 and mine[place - 1]["action"] in BEGINS
            if on and not was_on:
                known = r["action"] == "start" or place > 0
                runs[customer].append([effective(r), r["event_time"], subscription, known, None, None])
            elif was_on and not on:
                runs[customer][-1][4:] = [effective(r), r["event_time"]]
    found = []
    for customer, mine in runs.items():
        merged: list[list] = []
        for run in sorted(mine, key=lambda run: (run[0], run[1], run[2])):
            last = merged[-1] if merged else None
            if last and (last[4] is None or run[0] <= last[4]):
                if run[4] is None or (last[4] is not None and (run[4], run[5]) > (last[4], last[5])):
                    last[4:] = run[4:]
            else:
                merged.append(run[:])
        for number, (begun, recorded, _, known, ended, noted) in enumerate(merged):
            if begun < end:
                told = min(noted, ended) if ended else None
                seconds = [int(t.timestamp()) if t else None for t in (begun, recorded, ended, told)]
                found.append((customer, *seconds, number, known or number > 0))
    return sorted(found, key=repr)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_spells_are_those_found_subscription_by_subscription(tmp_path, seed):
    """Customers with two subscriptions each to which anything happens, half-days apart so that times tie."""
    draw = random.Random(seed)
    records = []
    for number in range(400):
        for _ in range(draw.randint(1, 14)):
            when = END - 30 * DAY + draw.randrange(61) * 12 * HOUR
            ahead = draw.choice([None, None, *range(-4, 9)])
            what = draw.choice([*BEGINS, *ENDS, "change", "pause", "cancel", "start"])
            later = None if ahead is None else when + ahead * 12 * HOUR
            records.append(act(f"p{number}", what, when, f"{number}-{draw.randrange(2)}", effective_time=later))
    found = ask(tmp_path, records, spells(END)).to_pylist()
    names = ("customer_id", "begun", "recorded", "ended", "told", "number", "known")
    assert sorted((tuple(row[name] for name in names) for row in found), key=repr) == spells_by_hand(records, END)


def of(found: list[dict], customer: str) -> list[tuple]:
    """Return a customer's spells as days before the end that they began and ended."""
    mine = [r for r in found if r["customer_id"] == customer.encode()]
    end = END.timestamp()
    days = lambda second: None if second is None else (end - second) / 86_400  # noqa: E731  # short and local
    return sorted(((days(r["begun"]), days(r["ended"])) for r in mine), reverse=True)


def test_what_makes_and_ends_a_subscriber(tmp_path):
    def ago(days):
        return END - days * DAY

    records = [
        act("trial only", "trial", ago(50)),
        act("trial only", "expire", ago(36)),
        act("converted", "trial", ago(50)),
        act("converted", "start", ago(36)),
        act("paused", "start", ago(90)),
        act("paused", "pause", ago(60)),
        act("paused", "resume", ago(30)),
        act("announced", "start", ago(90)),
        act("announced", "cancel", ago(10), effective_time=ago(-5)),
        act("withdrew", "start", ago(90)),
        act("withdrew", "cancel", ago(20), effective_time=ago(5)),
        act("withdrew", "resume", ago(10)),
        act("moved", "start", ago(90), "old"),
        act("moved", "cancel", ago(40), "old"),
        act("moved", "start", ago(40), "new"),
        act("two plans", "start", ago(90), "first"),
        act("two plans", "start", ago(60), "second"),
        act("two plans", "cancel", ago(30), "first"),
        act("came back", "start", ago(90)),
        act("came back", "expire", ago(60)),
        act("came back", "reactivate", ago(20)),
        act("later", "start", ago(-1)),
        act("booked", "start", ago(3), effective_time=ago(-3)),
    ]
    found = ask(tmp_path, records, spells(END)).to_pylist()
    assert of(found, "trial only") == []
    assert of(found, "converted") == [(36, None)]
    assert of(found, "paused") == [(90, None)]
    assert of(found, "announced") == [(90, -5)]
    assert of(found, "withdrew") == [(90, None)]
    assert of(found, "moved") == [(90, None)]
    assert of(found, "two plans") == [(90, None)]
    assert of(found, "came back") == [(90, 60), (20, None)]
    assert of(found, "later") == of(found, "booked") == []


def test_rates_over_a_period_of_the_tenants_days(tmp_path):
    zone = "America/New_York"
    today = datetime(2026, 11, 1, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    start = today - 30 * DAY
    records = [
        act("stays", "start", start - 100 * DAY),
        act("pays less", "start", start - 100 * DAY, amount_minor=2000, discount_minor=500),
        act("pays less", "change", start + 3 * DAY, amount_minor=1200),
        act("pays more", "start", start - 100 * DAY),
        act("pays more", "change", start + 3 * DAY, amount_minor=9000),
        act("leaves", "start", start - 40 * DAY, interval="year", amount_minor=6000),
        act("leaves", "cancel", start + 15 * DAY),
        act("leaves today", "start", start - 40 * DAY),
        act("leaves today", "cancel", today + HOUR),
        act("comes and goes", "start", start + 10 * DAY),
        act("comes and goes", "cancel", start + 20 * DAY),
        act("returns", "start", start - 40 * DAY, currency="USD", interval="week", amount_minor=100),
        act("returns", "cancel", start + 10 * DAY, currency="USD", interval="week"),
        act("returns", "start", start + 20 * DAY, currency="USD", interval="week", amount_minor=75),
    ]
    collection = collect(ChurnAnalyticsCollector, tmp_path, [{"subscription": records}], END, zone=zone)
    found = values(collection)
    assert found["subscribers",] == 5
    assert found["logo_churn",] == pytest.approx(1 / 6)
    # By day: 4 all the time, one for 14 days (day 15 ends without), one for 10, one for 9 and 11 days.
    assert found["average_subscriber_churn",] == pytest.approx(3 / ((4 * 30 + 14 + 10 + 9 + 11) / 30))
    # In EUR a year: 12,000 + 18,000 + 12,000 + 6,000 + 12,000; less pay loses 3,600, and leaving 6,000.
    assert found["revenue_churn", "EUR"] == pytest.approx((3600 + 6000) / 60_000)
    assert found["revenue_churn", "USD"] == pytest.approx(0.25)
    check_declaration(ChurnAnalyticsCollector, collection)


def test_survival_counts_first_tenures_with_delayed_entry(tmp_path):
    def ago(days):
        return END - days * DAY

    records = [act(f"c{n}", "start", ago(400 - n)) for n in range(100)]
    records += [act(f"c{n}", "cancel", ago(400 - n - 45)) for n in range(50)]
    # Began long before the records, on which they are from 100 days ago.
    records += [act(f"old{n}", "start", ago(100), effective_time=ago(700)) for n in range(10)]
    records += [act("unknown", "renew", ago(50))]
    found = values(collect(ChurnAnalyticsCollector, tmp_path, [{"subscription": records}], END))
    assert found["tenures", "followed"] == 110
    assert found["tenures", "ended"] == 50
    assert found["tenures", "entered_late"] == 10
    assert found["tenures", "unknown_beginning"] == 1
    assert found["survival", "30", "estimate"] == 1
    assert found["survival", "30", "lower"] is None
    assert found["survival", "90", "estimate"] == pytest.approx(0.5)
    assert found["survival", "90", "lower"] < 0.5 < found["survival", "90", "upper"]
    assert found["median_tenure", "estimate"] == 45 * 86_400
    assert found["restricted_mean_tenure", "30", "estimate"] == 30 * 86_400
    assert found["restricted_mean_tenure", "90", "estimate"] == pytest.approx((45 + 45 * 0.5) * 86_400)
    since = {"observed_since": ago(330)}
    later = values(collect(ChurnAnalyticsCollector, tmp_path / "b", [{"subscription": records}], END, **since))
    # c0 to c25 had left 330 days ago, c70 had not begun yet; the others and the old ones entered late.
    assert later["tenures", "ended"] == 50 - 26
    assert later["tenures", "entered_late"] == 10 + 70 - 26


def listener_world(seed: int = 1, people: int = 2500) -> dict[str, list[dict]]:
    """Make subscribers of whom those who hardly listen leave three times as often, as time goes on for 200 days."""
    rng = np.random.default_rng(seed)
    subscription, playback, payment = [], [], []
    for n in range(people):
        name = f"p{n}"
        begun = TODAY - timedelta(days=float(rng.uniform(0, 400)))
        keen = rng.random() < 0.5
        left = begun + timedelta(days=float(rng.exponential(600 if keen else 100)))
        yearly = "year" if rng.random() < 0.2 else "month"
        subscription.append(act(name, "start", begun, interval=yearly))
        if left < END:
            subscription.append(act(name, "cancel", left - min(5 * DAY, left - begun), effective_time=left))
        for day in range(150):
            when = TODAY - day * DAY - 12 * HOUR
            if begun < when < left and rng.random() < (0.5 if keen else 0.1):
                playback.append(
                    {
                        "tenant_id": "a", "user_id": name.encode(), "event_time": when, "track_id": "t",
                        "ms_played": int(rng.integers(30_000, 9_000_000)), "skipped": bool(rng.random() < 0.2),
                    }
                )  # fmt: skip
        if rng.random() < 0.05:
            payment.append(
                {
                    "tenant_id": "a", "customer_id": name.encode(), "event_time": TODAY - 100 * DAY, "kind": "refund",
                    "payment_id": f"r{n}", "amount_minor": 1000, "currency": "EUR", "status": "succeeded",
                }
            )  # fmt: skip
    return {"subscription": subscription, "playback": playback, "payment": payment}


@pytest.fixture(scope="module")
def world():
    return {name: rows(name, records) for name, records in listener_world().items()}


def run(folder, batches, end, work, **config):
    """Return what ``work`` makes of a collector over a lake of tables."""
    snapshot = write_lake(folder, batches, by_day=False)

    async def provide():
        return snapshot

    async def go():
        engine = DuckDBEngine()
        context = CollectorContext(tenant=TenantInfo("a"), lake=TenantView(engine, "a", provide))
        try:
            return await work(
                ChurnAnalyticsCollector(ChurnAnalyticsCollector.Config(**config), context), window_to(end)
            )
        finally:
            await engine.close()

    return asyncio.run(go())


def gather(collector, window):
    return collector.collect(window)


def predict(collector, window):
    return collector.probabilities(window)


@pytest.fixture(scope="module")
def found(world, tmp_path_factory):
    return run(tmp_path_factory.mktemp("lake"), [world], END, gather)


def test_a_planted_driver_is_found_by_the_model_and_by_the_hazards(found):
    check_declaration(ChurnAnalyticsCollector, found)
    v = values(found)
    # Listening and days of it tell the same, so their effects add up.
    assert v["driver_effect", "active_days", "estimate"] + v["driver_effect", "listening", "estimate"] < -0.3
    assert v["hazard_ratio", "active_days", "estimate"] * v["hazard_ratio", "listening", "estimate"] < 0.8
    for name in ("skip_share", "billing_period"):
        assert v["hazard_ratio", name, "lower"] < 1 < v["hazard_ratio", name, "upper"]
    assert all(0 <= v["proportionality_p", name] <= 1 for name in ("active_days", "listening", "skip_share"))


def test_probabilities_are_calibrated_and_better_than_the_base_rate(found):
    v = values(found)
    assert v["auc",] > 0.6
    assert v["top_decile_lift",] > 1.3
    assert 0 < v["brier_skill",] < 1
    assert v["calibration_error",] < 0.06
    assert 0 < v["brier",] < v["expected_churn",]
    assert v["log_loss",] > 0
    quantiles = [v["probability", q] for q in ("0.1", "0.25", "0.5", "0.75", "0.9", "0.99")]
    assert quantiles == sorted(quantiles)
    assert quantiles[0] < quantiles[-1]


def test_each_undecided_subscriber_has_a_probability_that_ranks_who_leaves_next(world, tmp_path):
    """What was predicted a month ago from what was known then, against who has announced to leave since."""
    then = TODAY - 30 * DAY
    table = run(tmp_path / "then", [world], then + HOUR, predict)
    known = run(tmp_path / "now", [world], END, lambda collector, _: collector.context.lake.query(spells(END)))
    assert table.schema.names == ["customer_id", "probability"]
    predicted = dict(zip(*(table.column(name).to_pylist() for name in table.schema.names), strict=True))
    at = then.timestamp()
    running = [r for r in known.to_pylist() if r["begun"] <= at and (r["told"] is None or r["told"] >= at)]
    assert set(predicted) == {r["customer_id"] for r in running}
    left = [r["told"] is not None for r in running]
    probability = [predicted[r["customer_id"]] for r in running]
    assert auc(probability, left) > 0.6
    assert np.mean(probability) == pytest.approx(np.mean(left), abs=0.04)
    order = table.column("probability").to_pylist()
    assert order == sorted(order, reverse=True)


def test_nothing_that_happens_later_changes_what_was_predicted(world, tmp_path):
    then = TODAY - 30 * DAY + HOUR
    past = {name: table.filter(pc.less(table.column("event_time"), then)) for name, table in world.items()}
    whole, only_past = (
        run(tmp_path / str(number), [tables], then, predict) for number, tables in enumerate((world, past))
    )
    assert whole.num_rows > 1000
    assert whole.to_pylist() == only_past.to_pylist()


def test_order_and_batches_of_events_change_nothing(world, found, tmp_path):
    rng = np.random.default_rng(3)
    batches: list[dict[str, pa.Table]] = [{}, {}, {}]
    for name, table in world.items():
        for batch, part in zip(batches, np.array_split(rng.permutation(table.num_rows), 3), strict=True):
            batch[name] = table.take(part)
    assert values(run(tmp_path, batches, END, gather)) == values(found)


def test_an_empty_tenant_has_reasons_instead_of_numbers(tmp_path):
    collection = collect(ChurnAnalyticsCollector, tmp_path, [{"subscription": [act("x", "start", END + DAY)]}], END)
    for sample in collection.samples:
        assert sample.value in (None, 0), sample
        assert sample.value == 0 or sample.reason
    declared = {spec.name for spec in ChurnAnalyticsCollector.emits}
    assert declared - {s.metric for s in collection.samples} == {"collectors.churn.revenue_churn"}


def test_a_few_subscribers_have_rates_and_survival_but_no_predictions(tmp_path):
    records = [act(f"c{n}", "start", TODAY - (n + 1) * 7 * DAY) for n in range(30)]
    records += [act(f"c{n}", "cancel", TODAY - n * 3 * DAY) for n in range(0, 30, 3)]
    collection = collect(ChurnAnalyticsCollector, tmp_path, [{"subscription": records}], END)
    found = values(collection)
    assert 0 < found["logo_churn",] < 1
    assert found["survival", "30", "estimate"] is not None
    assert found["expected_churn",] is None
    reasons = {s.metric.rsplit(".", 1)[1]: s.reason for s in collection.samples if s.value is None}
    assert "too few to learn from; 50 are needed" in reasons["driver_effect"]
    assert "too few to fit hazards to; 50 are needed" in reasons["hazard_ratio"]


def test_a_feature_that_cannot_be_estimated_leaves_the_others_be(world, tmp_path):
    """Nobody was refunded in this world, so refunds have no effect to speak of; the rest still has one."""
    found = run(tmp_path, [{name: table for name, table in world.items() if name != "payment"}], END, gather)
    reasons = {(s.metric.rsplit(".", 1)[1], s.labels[0]): s.reason for s in found.samples if s.labels}
    assert "the same for every" in reasons["driver_effect", "refunds"]
    assert "the same for everybody" in reasons["hazard_ratio", "refunds"]
    assert values(found)["hazard_ratio", "active_days", "estimate"] > 0


def test_more_currencies_than_there_can_be_are_an_issue(tmp_path):
    records = [
        act(f"c{n}", "start", TODAY - 50 * DAY, currency=f"{chr(65 + n % 26)}{chr(65 + n // 26)}X") for n in range(40)
    ]
    collection = collect(ChurnAnalyticsCollector, tmp_path, [{"subscription": records}], END)
    assert [issue.code for issue in collection.issues] == ["too_many_currencies"]
    assert sum(s.metric.endswith("revenue_churn") for s in collection.samples) == 32


def test_the_calibration_can_be_chosen(world, found, tmp_path):
    chosen = values(run(tmp_path, [world], END, gather, calibration="platt"))
    assert chosen["calibration_error",] < 0.06
    assert chosen["auc",] == values(found)["auc",]
    assert chosen["brier",] != values(found)["brier",]


@pytest.mark.parametrize("end", [instant(2026, 3, 29, 12), instant(2026, 10, 25, 12)])
def test_days_on_which_clocks_change_are_days(tmp_path, end):
    zone = ZoneInfo("Europe/Berlin")
    today = end.astimezone(zone).date()
    midnight = datetime(today.year, today.month, today.day, tzinfo=zone).astimezone(UTC)
    records = [
        act("gone", "start", midnight - 90 * DAY),
        act("gone", "cancel", midnight),
        act("stays", "start", midnight - 90 * DAY),
    ]
    found = values(collect(ChurnAnalyticsCollector, tmp_path, [{"subscription": records}], end, zone="Europe/Berlin"))
    assert (found["subscribers",], found["logo_churn",]) == (1, 0.5)


def test_another_tenants_subscribers_are_not_counted(tmp_path):
    mine, theirs = act("x", "start", TODAY - 40 * DAY), act("y", "start", TODAY - 40 * DAY)
    batch = {"subscription": [mine, {**theirs, "tenant_id": "b"}]}
    assert values(collect(ChurnAnalyticsCollector, tmp_path, [batch], END))["subscribers",] == 1


def test_its_queries_are_portable():
    context = CollectorContext(tenant=TenantInfo("a", "Europe/Berlin"))
    assert portable(ChurnAnalyticsCollector(context=context), END)


def test_without_a_lake_there_are_no_probabilities():
    with pytest.raises(LifecycleError, match="lake"):
        asyncio.run(ChurnAnalyticsCollector().probabilities(Window(0, 1)))


def test_features_are_named_in_the_order_they_come():
    assert len(set(FEATURES)) == len(FEATURES)
