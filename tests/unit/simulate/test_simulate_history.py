"""A past's truth, against rules applied to its events by hand."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from scipy.special import betaln
from simulate_support import Run, small_world, tables_of

from collectors.simulate.scenario import BetaGeometric
from collectors.simulate.stream import MIX, EventStream
from collectors.simulate.world import DEFAULT_START_US

HALF_HOUR_MS = 30 * 60 * 1000
MONTHS = {"month": 1, "year": 12}


def plays_of(run: Run, tenant: str) -> pd.DataFrame:
    table = run.tables[tenant, "playback"].select(["event_time", "user_id", "session_id", "ms_played"])
    plays = table.to_pandas().sort_values(["user_id", "event_time"], kind="stable")
    plays["end_ms"] = plays["event_time"].astype("int64") / 1000
    plays["day"] = plays["event_time"].dt.tz_convert(run.world.tenants[tenant].time_zone).dt.date
    return plays


def test_the_past_ends_at_the_worlds_start_and_has_its_days(past: Run):
    for tenant, profile in past.world.tenants.items():
        plays = past.tables[tenant, "playback"]["event_time"].to_pandas()
        assert plays.max() < pd.Timestamp(DEFAULT_START_US, unit="us", tz="UTC")
        local = plays.dt.tz_convert(profile.time_zone).dt.date
        last = datetime.fromtimestamp(DEFAULT_START_US / 1e6, ZoneInfo(profile.time_zone)).date()
        assert local.min() == last - timedelta(days=40)
        assert set(local) >= {last - timedelta(days=k) for k in range(1, 41)}


@pytest.mark.parametrize(
    "idle",
    [
        lambda p: p["end_ms"].diff(),
        lambda p: (p["end_ms"] - p["ms_played"]).sub(p["end_ms"].shift()),
        lambda p: p["end_ms"].sub((p["end_ms"] + p["ms_played"]).shift()),
    ],
    ids=["between times", "time is the end", "time is the beginning"],
)
def test_the_half_hour_rule_finds_the_sessions_however_gaps_are_measured(past: Run, idle):
    for tenant, truth in past.truth.tenants.items():
        plays = plays_of(past, tenant)
        first = plays["user_id"].ne(plays["user_id"].shift())
        begins = first | (idle(plays) > HALF_HOUR_MS)
        assert begins.sum() == truth.listening.sessions.total()
        by_day = plays[begins].groupby("day").size()
        told = truth.listening.to_dict()["days"]
        assert {str(d): n for d, n in by_day.items()} == {d: r["sessions"] for d, r in told.items() if r["sessions"]}
        assert plays.groupby(begins.cumsum())["session_id"].nunique().max() == 1
        assert plays["session_id"].nunique() == begins.sum()


def test_each_session_opens_the_application_before_its_first_play(past: Run):
    for tenant, truth in past.truth.tenants.items():
        opened = past.tables[tenant, "app_event"].select(["session_id", "event_time", "name", "user_id"]).to_pandas()
        assert set(opened["name"]) == {"App Opened"}
        first = plays_of(past, tenant).groupby("session_id")["event_time"].min()
        assert (opened.set_index("session_id")["event_time"].sort_index() < first.sort_index()).all()
        assert len(opened) == truth.listening.sessions.total()


def test_a_user_never_hears_two_tracks_at_once(past: Run):
    for tenant in past.truth.tenants:
        plays = plays_of(past, tenant)
        again = plays["user_id"].eq(plays["user_id"].shift())
        assert (plays["end_ms"] - plays["ms_played"] > plays["end_ms"].shift())[again].all()


def test_retention_is_that_of_first_and_later_days(past: Run):
    for tenant, truth in past.truth.tenants.items():
        plays = plays_of(past, tenant)
        days = plays.groupby("user_id")["day"].agg(set)
        last = plays["day"].max()
        table = defaultdict(lambda: defaultdict(int))
        for seen in days:
            for day in seen:
                table[min(seen)][(day - min(seen)).days] += 1
        told = truth.listening.to_dict()["retention"]
        assert told == {
            str(first): [row[k] for k in range((last - first).days + 1)] for first, row in sorted(table.items())
        }


def test_newcomers_arrive_and_some_users_leave(past: Run):
    plays = pd.concat(plays_of(past, tenant) for tenant in past.truth.tenants)
    seen = plays.groupby("user_id")["day"].agg(["min", "max"])
    middle = plays["day"].min() + timedelta(days=20)
    assert (seen["min"] > middle).mean() > 0.1
    assert (seen["max"] < middle).mean() > 0.1


def test_listening_has_hours_of_the_local_day(past: Run):
    for tenant, profile in past.world.tenants.items():
        hours = past.tables[tenant, "playback"]["event_time"].to_pandas().dt.tz_convert(profile.time_zone).dt.hour
        counts = hours.value_counts()
        assert counts[[17, 18, 19, 20]].mean() > 3 * counts.reindex([1, 2, 3, 4], fill_value=0).mean()


def test_heavier_listeners_play_more(past: Run):
    people = past.world.populations["nordic"]
    counts = plays_of(past, "nordic").groupby("user_id").size()
    weight = pd.Series(people.weight, index=people.ids.to_pylist())
    assert counts.corr(weight.reindex(counts.index), method="spearman") > 0.4


class Replay:
    """Applies subscription events at the time they take effect, and tells who pays what a month."""

    def __init__(self, run: Run, tenant: str) -> None:
        rows = run.tables[tenant, "subscription"].to_pylist()
        self.zone = ZoneInfo(run.world.tenants[tenant].time_zone)
        self.steps = sorted(
            ((row["effective_time"] or row["event_time"], i, row) for i, row in enumerate(rows)),
            key=lambda step: step[:2],
        )

    def at(self, when: datetime) -> tuple[dict[str, tuple[str, Fraction]], set[str]]:
        paying, ever = {}, set()
        for effective, _, row in self.steps:
            if effective >= when:
                break
            customer = row["customer_id"]
            if row["action"] in {"start", "renew", "change", "reactivate"}:
                amount = Fraction(row["amount_minor"] - row["discount_minor"], MONTHS[row["interval"]])
                paying[customer] = row["currency"], amount
                ever.add(customer)
            elif row["action"] == "cancel":
                paying.pop(customer, None)
        return paying, ever

    def start_of(self, month: date) -> datetime:
        return datetime(month.year, month.month, 1, tzinfo=self.zone).astimezone(UTC)


def month_number(month: date) -> int:
    return (month.year - 1970) * 12 + month.month - 1


def test_recurring_revenue_is_that_of_the_events_replayed(past: Run):
    for tenant, truth in past.truth.tenants.items():
        replay = Replay(past, tenant)
        for month in (date(2024, 6, 1), date(2025, 3, 1), date(2025, 12, 1)):
            when = replay.start_of(month)
            paying, _ = replay.at(when)
            sums = defaultdict(Fraction)
            for currency, amount in paying.values():
                sums[currency] += amount
            at_us = int(when.timestamp() * 1_000_000) - 1
            assert {c: m for c, m in truth.revenue.mrr(at_us).items() if m} == sums
            assert truth.revenue.subscribers(at_us) == len(paying)


def test_movements_are_those_of_customers_between_month_starts(past: Run):
    kinds = set()
    for tenant, truth in past.truth.tenants.items():
        replay = Replay(past, tenant)
        for number in range(1, 24):
            month, following = (date(2024 + n // 12, n % 12 + 1, 1) for n in (number, number + 1))
            before, known = replay.at(replay.start_of(month))
            after, _ = replay.at(replay.start_of(following))
            found = defaultdict(lambda: defaultdict(Fraction))
            for customer in before.keys() | after.keys():
                currency = (after.get(customer) or before[customer])[0]
                old, new = (side.get(customer, (None, Fraction(0)))[1] for side in (before, after))
                row = found[currency]
                row["start"] += old
                row["end"] += new
                if not old:
                    row["reactivation" if customer in known else "new"] += new
                elif not new:
                    row["churn"] += old
                else:
                    row["expansion" if new > old else "contraction"] += abs(new - old)
            for currency, told in truth.revenue.movements(month_number(month)).items():
                row = told.to_dict()
                assert row == {name: found[currency][name] for name in row}
                gained = told.new + told.expansion + told.reactivation
                assert told.start + gained - told.contraction - told.churn == told.end
                kinds |= {name for name, value in row.items() if value}
    assert kinds == {"start", "new", "expansion", "reactivation", "contraction", "churn", "end"}


def test_renewals_and_departures_are_those_of_the_events(past: Run):
    start = pd.Timestamp(DEFAULT_START_US, unit="us", tz="UTC")
    for tenant, truth in past.truth.tenants.items():
        found = defaultdict(lambda: [0, 0])
        lives = defaultdict(list)
        for effective, _, row in Replay(past, tenant).steps:
            if row["action"] not in {"trial", "expire"}:
                lives[row["customer_id"]].append((row["action"], row["interval"], effective))
        for life in lives.values():
            assert life[0][0] == "start"
            for number, (action, interval, effective) in enumerate(life[1:], start=1):
                if effective >= start:
                    break
                found[interval, number][0] += 1
                if action == "cancel":
                    found[interval, number][1] += 1
                    break
        told = {(i, k): v for i, rows in truth.revenue.renewals.items() for k, v in rows.items()}
        assert told == found


def test_leaving_is_announced_before_the_paid_period_ends(past: Run):
    cancels = [r for t in past.truth.tenants for _, _, r in Replay(past, t).steps if r["action"] == "cancel"]
    notice = [r["effective_time"] - r["event_time"] for r in cancels]
    assert all(timedelta(0) <= n <= timedelta(days=20) for n in notice)
    assert max(notice) > timedelta(days=10)


def test_trials_convert_or_lapse_as_told(past: Run):
    for tenant, truth in past.truth.tenants.items():
        ended = converted = 0
        trials = {}
        for effective, _, row in Replay(past, tenant).steps:
            if row["action"] == "trial":
                assert row["amount_minor"] == 0
                trials[row["customer_id"]] = effective
            elif row["customer_id"] in trials and row["action"] in {"start", "expire"}:
                assert effective - trials.pop(row["customer_id"]) == timedelta(days=14)
                ended += 1
                converted += row["action"] == "start"
        assert truth.revenue.trials == [ended, converted]


def test_each_period_is_paid_once_and_in_full(past: Run):
    for tenant in past.truth.tenants:
        payments = past.tables[tenant, "payment"].to_pandas()
        charges = payments[(payments["kind"] == "charge") & (payments["status"] == "succeeded")]
        assert not charges.duplicated(["customer_id", "period_start"]).any()
        assert charges["invoice_id"].is_unique
        prices = {
            (row["customer_id"], effective): row["amount_minor"] - row["discount_minor"]
            for effective, _, row in Replay(past, tenant).steps
            if row["action"] in {"start", "renew", "change", "reactivate"}
        }
        rows = charges[["customer_id", "period_start", "amount_minor"]].itertuples(index=False)
        paid = {(customer, start.to_pydatetime()): amount for customer, start, amount in rows}
        assert all(prices[key] == amount for key, amount in paid.items())
        assert len(prices) - len(paid) <= 3 + len(prices) // 100  # charges that failed are tried again after the end
        invoices = charges.set_index("invoice_id")["amount_minor"]
        for kind in ("refund", "chargeback", "chargeback_reversal"):
            moved = payments[payments["kind"] == kind]
            assert (moved["amount_minor"].to_numpy() <= invoices[moved["invoice_id"]].to_numpy()).all()
        failed = payments[payments["status"] == "failed"]
        assert (failed["event_time"] < start_of(failed, charges)).all()


def start_of(failed: pd.DataFrame, charges: pd.DataFrame) -> pd.Series:
    later = charges.set_index("invoice_id")["event_time"].reindex(failed["invoice_id"])
    return later.fillna(pd.Timestamp.max.tz_localize("UTC").floor("us")).set_axis(failed.index)


def test_lifetimes_are_beta_geometric_with_the_stated_parameters():
    churn = {"month": BetaGeometric(1.2, 6.0), "year": BetaGeometric(1.0, 2.0)}
    stream = EventStream(small_world(11, users=20_000, churn=churn))
    for _ in stream.history(1, services=False):
        pass
    came, left = np.zeros(19), np.zeros(19)
    for truth in stream.truth.tenants.values():
        for number, counts in truth.revenue.renewals["month"].items():
            if number < 19:
                came[number] += counts[0]
                left[number] += counts[1]
    number = np.arange(1, 19)
    # Of those who come to renewal t, the share alpha / (alpha + beta + t - 1) leaves (Fader & Hardie 2007, eq. 5).
    stays = np.exp(betaln(1.2, 6.0 + number) - betaln(1.2, 6.0 + number - 1))
    error = 4 * np.sqrt(came[1:] * stays * (1 - stays))
    assert (np.abs(left[1:] - came[1:] * (1 - stays)) < error).all()
    assert left.sum() == pytest.approx((came[1:] * (1 - stays)).sum(), rel=0.05)


def test_what_the_platform_records_keeps_the_proportions_of_the_mix(past: Run):
    for tenant in past.truth.tenants:
        plays = past.tables[tenant, "playback"].num_rows
        for kind, share in MIX:
            if kind not in {"playback", "app_event", "subscription", "payment"}:
                expected = plays * share / 0.7
                # Each day is rounded for itself, and the labels of the last day are still to come.
                assert past.tables[tenant, kind].num_rows == pytest.approx(expected, abs=25 + 0.05 * expected)


def test_services_can_be_left_out_and_users_be_few():
    stream = EventStream(small_world())
    tables = tables_of(stream.history(6, users=200, services=False))
    assert {kind for _, kind in tables} == {"playback", "app_event", "subscription", "payment"}
    users = {u for (_, k), t in tables.items() if k == "playback" for u in t["user_id"].to_pylist()}
    assert 100 < len(users) <= 200


def test_a_day_on_which_nobody_listens_is_empty():
    stream = EventStream(small_world())
    tables_of(stream.history(30, users=20, services=False))
    assert len(stream.truth.tenants["tokyo"].listening.days) < 30


def test_a_past_can_end_elsewhere():
    end = DEFAULT_START_US - 10 * 86_400_000_000 + 12 * 3_600_000_000
    stream = EventStream(small_world())
    tables = tables_of(stream.history(3, end_us=end, months=2))
    latest = max(int(t["event_time"].to_pandas().max().timestamp() * 1e6) for t in tables.values())
    assert end - 3_600_000_000 < latest < end
    *_, batch = next(stream.batches(1_000))
    assert int(batch["event_time"][0].as_py().timestamp() * 1e6) >= end - 1


def test_live_billing_goes_on_from_the_contracts_of_the_past():
    stream = EventStream(small_world(users=3_000))
    history = tables_of(stream.history(2, services=False))
    alive = defaultdict(dict)
    for (tenant, kind), table in history.items():
        if kind == "subscription":
            for row in sorted(table.to_pylist(), key=lambda r: r["event_time"]):
                alive[tenant][row["customer_id"]] = row
    live = tables_of(stream.batches(30_000, 1_000))
    seen = 0
    for (tenant, kind), table in live.items():
        if kind != "subscription":
            continue
        for row in table.to_pylist():
            before = alive[tenant].get(row["customer_id"])
            assert before is not None
            gone = before["action"] == "cancel"
            assert (row["action"] == "reactivate") == gone
            if row["action"] == "renew":
                assert row["plan"] == before["plan"]
            alive[tenant][row["customer_id"]] = row
            seen += 1
    assert abs(seen - 150) <= 3
    truth = stream.truth.tenants["nordic"].revenue
    assert truth.subscribers(DEFAULT_START_US) > 500
