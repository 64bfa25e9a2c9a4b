"""The survival of simulated contracts is that of the beta-geometric they were drawn from."""

from __future__ import annotations

import asyncio

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from scipy.special import beta
from tests.support.analytical import check_declaration, values
from tests.support.lake_files import write_lake

from collectors.catalog.business.churn_analytics import ChurnAnalyticsCollector
from collectors.contract.collector import CollectorContext
from collectors.lake.duckdb_engine import DuckDBEngine
from collectors.lake.engine import TenantView
from collectors.model.event_types import EVENT_TYPES
from collectors.model.metric import Window
from collectors.model.status import TenantInfo
from collectors.simulate.scenario import BetaGeometric
from collectors.simulate.stream import EventStream
from collectors.simulate.world import World

TENANT = "nordic"
MONTHLY = BetaGeometric(1.2, 14.0)


@pytest.fixture(scope="module")
def monthly() -> tuple[pa.Table, World]:
    """Return two years of the subscription events of monthly contracts."""
    world = World(5, users=20_000, tracks=200, churn={"month": MONTHLY, "year": BetaGeometric(1.0, 3.0)})
    history = EventStream(world).history(1, months=24, services=False)
    parts = [batch for tenant, kind, batch in history if (tenant, kind) == (TENANT, "subscription")]
    events = pa.Table.from_batches(parts)
    events = events.filter(pc.equal(events.column("interval"), "month"))
    return stored(events), world


def stored(events: pa.Table) -> pa.Table:
    """Return events as the lake has them, but for what only the intake adds."""
    given = {
        "tenant_id": pa.repeat(TENANT, events.num_rows),
        "received_time": events.column("event_time"),
        "day": events.column("event_time").cast(pa.date32()),
    }
    columns = []
    for field in EVENT_TYPES["subscription"].lake_schema:
        if field.name in events.column_names:
            columns.append(events.column(field.name).cast(field.type))
        else:
            columns.append(given.get(field.name, pa.nulls(events.num_rows, field.type)))
    return pa.table(columns, schema=EVENT_TYPES["subscription"].lake_schema)


def collect(folder, table, world):
    snapshot = write_lake(folder, [{"subscription": table}], lambda _: "Europe/Stockholm", by_day=False)

    async def provide():
        return snapshot

    async def go():
        engine = DuckDBEngine()
        context = CollectorContext(
            tenant=TenantInfo(TENANT, "Europe/Stockholm"), lake=TenantView(engine, TENANT, provide)
        )
        try:
            window = Window(world.start_us - 60_000_000, world.start_us)
            return await ChurnAnalyticsCollector(context=context).collect(window)
        finally:
            await engine.close()

    return asyncio.run(go())


def true_survival(renewals: int) -> float:
    """Return the chance to stay at each of the first ``renewals`` (Fader & Hardie 2007, equation 6)."""
    return float(beta(MONTHLY.alpha, MONTHLY.beta + renewals) / beta(MONTHLY.alpha, MONTHLY.beta))


def test_survival_is_that_of_the_hazards_the_contracts_were_drawn_from(monthly, tmp_path):
    collection = collect(tmp_path, *monthly)
    check_declaration(ChurnAnalyticsCollector, collection)
    found = values(collection)
    assert found["tenures", "followed"] > 2000
    # By day 180 five renewals have come, of months of 28 to 31 days; by day 365 twelve.
    for days, renewals in (("180", 5), ("365", 12)):
        lower, upper = found["survival", days, "lower"], found["survival", days, "upper"]
        assert lower < true_survival(renewals) < upper
        assert upper - lower < 0.08


def test_it_is_so_too_if_only_the_last_year_is_on_record(monthly, tmp_path):
    """Contracts that began before are known from their renewals on record only if told so; here from their start."""
    table, world = monthly
    began = table.filter(pc.equal(table.column("action"), "start"))
    since = pa.scalar(world.start_us - 365 * 86_400_000_000, pa.timestamp("us", tz="UTC"))
    recorded = table.filter(pc.greater_equal(table.column("event_time"), since))
    # Of the earlier ones who still renew in the last year, the start is known by hindsight: entered in the records
    # at their beginning, to take effect in the past.
    alive = pc.is_in(began.column("customer_id"), value_set=recorded.column("customer_id").combine_chunks())
    early = began.filter(pc.and_(alive, pc.less(began.column("event_time"), since)))
    times = pa.chunked_array([pa.repeat(since, early.num_rows)])
    entered = early.set_column(early.schema.get_field_index("effective_time"), "effective_time", early["event_time"])
    entered = entered.set_column(entered.schema.get_field_index("event_time"), early.schema.field("event_time"), times)
    collection = collect(tmp_path, pa.concat_tables([recorded, entered.cast(table.schema)]), world)
    found = values(collection)
    assert found["tenures", "entered_late"] > 300
    for days, renewals in (("180", 5), ("365", 12)):
        assert found["survival", days, "lower"] < true_survival(renewals) < found["survival", days, "upper"]
