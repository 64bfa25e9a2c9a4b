"""The collectors of the business family over one simulated lake: what they have in common is the same, and true.

The month is June, which has 30 days and no change of clocks: so the trailing 30 days of one collector are the calendar
month of another and the 30 times 24 hours of a third.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from tests.support.analytical import Values, values
from tests.support.lake_files import micros, write_lake

from collectors.analytics.local_days import day_start
from collectors.catalog.business.churn_analytics import ChurnAnalyticsCollector
from collectors.catalog.business.revenue_metrics import RevenueMetricsCollector
from collectors.catalog.business.tenant_business_metrics import TenantBusinessMetricsCollector
from collectors.catalog.business.user_engagement import UserEngagementCollector
from collectors.contract.collector import CollectorContext
from collectors.lake.duckdb_engine import DuckDBEngine
from collectors.lake.engine import TenantView
from collectors.model.event_types import EVENT_TYPES
from collectors.model.metric import Window
from collectors.model.status import TenantInfo
from collectors.simulate.stream import EventStream
from collectors.simulate.truth import TenantTruth
from collectors.simulate.world import World

JULY = date(2025, 7, 1)
JUNE_30 = (JULY - date(1970, 1, 1)).days - 1
LATER = datetime(2025, 7, 2, tzinfo=UTC)
TENANTS = ("americas", "nordic", "tokyo")
KINDS = ("playback", "app_event", "subscription", "payment")
Told = dict[str, Values]


def stored(batch: pa.RecordBatch, kind: str, tenant: str) -> pa.Table:
    """Return a batch of the simulator as the lake has it."""
    schema, n = EVENT_TYPES[kind].lake_schema, batch.num_rows
    columns = {name: batch.column(name) for name in batch.schema.names}
    columns |= {"tenant_id": pa.repeat(pa.scalar(tenant), n), "log_position": pa.array(np.arange(n))}
    columns |= {"received_time": columns["event_time"], "day": columns["event_time"].cast(pa.date32())}
    return pa.table([columns.get(f.name, pa.nulls(n, f.type)).cast(f.type) for f in schema], schema=schema)


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> dict[str, tuple[Told, TenantTruth]]:
    """What each collector tells of each tenant where July begins for it, and what is true."""
    stream = EventStream(World(17, users=1_500, tracks=300))
    parts: dict[str, list[pa.Table]] = defaultdict(list)
    for tenant, kind, batch in stream.history(75, end_us=micros(LATER), services=False, batch_rows=50_000):
        if kind in KINDS:
            parts[kind].append(stored(batch, kind, tenant))
    zones = {name: stream.world.tenants[name].time_zone for name in TENANTS}
    everything = {kind: pa.concat_tables(tables) for kind, tables in parts.items()}
    # Loaded in two parts, so that rollups have rows to add up.
    halves = [{kind: table.slice(at, table.num_rows // 2 + 1) for kind, table in everything.items()
               for at in [half * (table.num_rows // 2 + 1)]} for half in (0, 1)]  # fmt: skip
    snapshot = write_lake(tmp_path_factory.mktemp("lake"), halves, zones.__getitem__, by_day=False)

    async def provide():
        return snapshot

    async def told(tenant: str) -> Told:
        engine = DuckDBEngine()
        context = CollectorContext(
            tenant=TenantInfo(tenant, zones[tenant], "EUR"), lake=TenantView(engine, tenant, provide)
        )
        july = micros(day_start(JULY, zones[tenant]))
        found = {}
        for collector, end in (
            (UserEngagementCollector, july),
            (TenantBusinessMetricsCollector, july),
            (RevenueMetricsCollector, july),
            (ChurnAnalyticsCollector, july + 60_000_000),  # it looks back from where the day of its end began
        ):
            found[collector.name] = values(await collector(context=context).collect(Window(end - 60_000_000, end)))
        await engine.close()
        return found

    return {tenant: (asyncio.run(told(tenant)), stream.truth.tenants[tenant]) for tenant in TENANTS}


@pytest.fixture(params=TENANTS)
def tenant(request, world) -> tuple[Told, TenantTruth]:
    return world[request.param]


def test_users_and_listening_agree_and_are_what_was_simulated(tenant) -> None:
    told, truth = tenant
    engagement, business = told["user_engagement"], told["tenant_business_metrics"]
    for period, days in (("day", 1), ("week", 7), ("month", 30)):
        true = truth.listening.active(JUNE_30, days)
        assert engagement["active_users", period] == business["active_users", period] == true > 0
        assert engagement["listening_hours", period] == business["listening_hours", period]
    assert engagement["stream_rate",] == business["streams", "day"] / business["plays", "day"]
    by_day = truth.listening.to_dict()["days"][str(JULY - timedelta(days=1))]
    assert business["plays", "day"] == by_day["plays"]
    assert business["streams", "day"] == by_day["streams"]
    assert engagement["sessions",] == truth.listening.sessions[JUNE_30]
    assert business["last_hour", "plays"] <= business["plays", "day"]


def test_growth_accounting_agrees_with_the_growth_of_users(tenant) -> None:
    """New, retained and resurrected are those of now, retained and dormant those of before: so is their growth."""
    told, _ = tenant
    engagement, business = told["user_engagement"], told["tenant_business_metrics"]
    for period in ("week", "month"):
        state = {s: engagement["growth_users", period, s] for s in ("new", "retained", "resurrected", "dormant")}
        now = state["new"] + state["retained"] + state["resurrected"]
        before = state["retained"] + state["dormant"]
        assert business["growth", "active_users", period] == pytest.approx((now - before) / before, rel=1e-12)


def test_revenue_of_the_month_agrees_by_currency(tenant) -> None:
    told, truth = tenant
    business, revenue = told["tenant_business_metrics"], told["revenue_metrics"]
    currencies = [key[2] for key in business if key[0] == "revenue" and key[1] == "month"]
    assert set(currencies) == set(truth.revenue.mrr(0))
    for currency in currencies:
        assert business["revenue", "month", currency] == revenue["net_payments", currency, "0"] > 0


def test_churn_agrees_by_customer_and_by_currency(tenant) -> None:
    told, truth = tenant
    revenue, churn = told["revenue_metrics"], told["churn_analytics"]
    zone_end = truth.days.start_us(JUNE_30 + 1)
    assert churn["subscribers",] == revenue["customers", "0", "end"] == truth.revenue.subscribers(zone_end - 1) > 0
    assert churn["logo_churn",] == pytest.approx(revenue["logo_churn", "month_to_date"], rel=1e-12)
    for currency in truth.revenue.mrr(0):
        moved = {row: revenue["mrr_movement", currency, "0", row] for row in ("start", "contraction", "churn")}
        lost = (moved["contraction"] + moved["churn"]) / moved["start"]
        assert churn["revenue_churn", currency] == pytest.approx(lost, rel=1e-6)
