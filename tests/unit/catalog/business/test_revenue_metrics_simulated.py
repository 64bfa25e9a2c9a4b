"""The revenue metrics of a simulated past of two years, against what its simulator knows to be true."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from revenue_support import run
from tests.support.analytical import Values, check_declaration, values
from tests.support.lake_files import micros

from collectors.catalog.business.revenue_metrics import RevenueMetricsCollector
from collectors.model.event_types import EVENT_TYPES
from collectors.model.status import TenantInfo
from collectors.simulate.stream import EventStream
from collectors.simulate.truth import TenantTruth
from collectors.simulate.world import World

MONTHS = 18
END = datetime(2026, 1, 1, tzinfo=UTC)
REPORTED = {"nordic": "EUR", "americas": "USD", "tokyo": "JPY"}
QUOTES = {
    "EUR/SEK": "11.2345", "EUR/NOK": "11.7", "EUR/DKK": "7.46", "USD/CAD": "1.37", "USD/MXN": "18.25",
    "USD/BRL": "5.41", "JPY/KRW": "9.4",
}  # fmt: skip
NO_CENTS = {"JPY", "KRW"}
ROWS = ("start", "new", "expansion", "reactivation", "contraction", "churn", "end")


def stored(batch: pa.RecordBatch, kind: str, tenant: str) -> pa.Table:
    """Return a batch of the simulator as the lake has it."""
    schema = EVENT_TYPES[kind].lake_schema
    n = batch.num_rows
    columns = {name: batch.column(name) for name in batch.schema.names}
    columns |= {"tenant_id": pa.repeat(pa.scalar(tenant), n), "log_position": pa.array(np.arange(n))}
    columns |= {"received_time": columns["event_time"], "day": columns["event_time"].cast(pa.date32())}
    return pa.table([columns.get(f.name, pa.nulls(n, f.type)).cast(f.type) for f in schema], schema=schema)


@pytest.fixture(scope="module")
def past(tmp_path_factory) -> dict[str, tuple[Values, TenantTruth, str]]:
    """What is told of each tenant, what is true, and its time zone."""
    stream = EventStream(World(11, users=2_500, tracks=500))
    parts = defaultdict(lambda: defaultdict(list))
    for tenant, kind, batch in stream.history(1, end_us=micros(END), services=False, batch_rows=50_000):
        if kind in ("subscription", "payment"):
            parts[tenant][kind].append(stored(batch, kind, tenant))
    found = {}
    for tenant, by_kind in parts.items():
        zone = stream.world.tenants[tenant].time_zone
        tables = {kind: pa.concat_tables(tables) for kind, tables in by_kind.items()}
        rates = {pair: {"2024-01-01": rate, "2025-01-01": rate} for pair, rate in QUOTES.items()}
        collection = run(
            tmp_path_factory.mktemp(tenant),
            [tables],
            TenantInfo(tenant, zone, REPORTED[tenant]),
            END,
            months=MONTHS,
            exchange={"source": "a fixed rate", "rates": rates, "valid_days": 366},
        )
        check_declaration(RevenueMetricsCollector, collection)
        found[tenant] = values(collection), stream.truth.tenants[tenant], zone
    return found


@pytest.fixture(params=sorted(REPORTED))
def tenant(request, past) -> tuple[Values, TenantTruth]:
    return past[request.param][:2]


def running(truth: TenantTruth) -> int:
    return int(truth.days.months(np.array([micros(END) - 1]))[0])


def test_the_movements_of_every_month_and_currency_are_those_that_were_simulated(tenant):
    told, truth = tenant
    for ago in range(1, MONTHS + 1):
        for currency, true in truth.revenue.movements(running(truth) - ago).items():
            for row in ROWS:
                assert told["mrr_movement", currency, str(ago), row] == getattr(true, row), (ago, currency, row)


def test_mrr_now_is_the_simulated_one_and_arr_is_twelve_times_it(tenant):
    told, truth = tenant
    for currency, mrr in truth.revenue.mrr(micros(END) - 1).items():
        assert told["mrr", currency] == mrr
        assert told["arr", currency] == 12 * mrr
    assert told["customers", "0", "end"] == truth.revenue.subscribers(micros(END) - 1)


def test_payments_by_kind_are_those_that_were_simulated(tenant):
    told, truth = tenant
    true = {
        (row["currency"], row["month"], row["kind"]): row["amount_minor"]
        for row in truth.revenue.payments()
        if row["status"] == "succeeded"
    }
    for ago in range(MONTHS + 1):
        name = str(np.datetime64(running(truth) - ago, "M"))
        for currency in truth.revenue.mrr(0):
            for kind in ("charge", "refund", "chargeback", "chargeback_reversal"):
                assert told["payments", currency, str(ago), kind] == true.get((currency, name, kind), 0)


@pytest.mark.parametrize("name", REPORTED)
def test_conversion_at_a_constant_rate_is_a_plain_product(past, name):
    told, truth, _ = past[name]
    to = REPORTED[name]
    for ago in range(1, MONTHS + 1):
        exact = Fraction(0)
        for currency, true in truth.revenue.movements(running(truth) - ago).items():
            rate = Fraction(Decimal(QUOTES.get(f"{to}/{currency}", "1")))
            cents = Fraction(100 if to not in NO_CENTS else 1, 100 if currency not in NO_CENTS else 1)
            exact += true.end / rate * cents
        assert told["mrr_movement_converted", to, str(ago), "end"] == round(exact)
        assert told["mrr_movement_converted", to, str(ago), "fx"] == 0
        rows = [told["mrr_movement_converted", to, str(ago), row] for row in ROWS]
        assert rows[0] + rows[1] + rows[2] + rows[3] - rows[4] - rows[5] == rows[6]


def test_what_was_charged_is_earned_or_deferred(tenant):
    """The months add up to what was charged in them and before for them, less what is still to come."""
    told, truth = tenant
    for currency in truth.revenue.mrr(0):
        net = sum(told["net_payments", currency, str(ago)] for ago in range(MONTHS + 1))
        earned = sum(told["recognised", currency, str(ago)] for ago in range(MONTHS + 1))
        assert told["deferred", currency] > 0
        assert earned + told["deferred", currency] >= net  # charges before the first month were for days in it


def test_payments_agree_with_subscriptions_but_for_what_was_paid_back(past):
    for told, truth, _ in past.values():
        outcomes: dict[str, float] = defaultdict(float)
        for (metric, *labels), count in told.items():
            if metric == "reconciliation_accounts":
                outcomes[labels[1]] += count
        assert outcomes["unexpected"] == outcomes["overpaid"] == outcomes["prorated"] == 0
        assert outcomes["unpaid"] + outcomes["underpaid"] <= 0.05 * outcomes["matched"] + 3
        assert sum(outcomes.values()) == truth.revenue.subscribers(micros(END) - 1)
