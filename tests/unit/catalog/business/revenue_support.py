"""Run the collector of revenue metrics over records or tables, and write its records."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import pyarrow as pa
from tests.support.analytical import window_to
from tests.support.lake_files import Record, rows, write_lake

from collectors.catalog.business.revenue_metrics import RevenueMetricsCollector
from collectors.contract.collector import CollectorContext
from collectors.lake.duckdb_engine import DuckDBEngine
from collectors.lake.engine import Snapshot, TenantView
from collectors.model.metric import Collection
from collectors.model.status import TenantInfo

Batch = Mapping[str, pa.Table]

_numbers = itertools.count(1)


def next_id() -> bytes:
    """Return an event id that no other record has."""
    return uuid.UUID(int=next(_numbers)).bytes


def run(
    folder: Path, batches: Sequence[Batch], tenant: TenantInfo, end: datetime, *, by_day: bool = False, **config: object
) -> Collection:
    """Collect once for ``tenant`` from a lake into which each batch was loaded on its own."""
    snapshot = write_lake(folder, batches, lambda _: tenant.time_zone, by_day=by_day)
    return run_on(snapshot, tenant, end, **config)


def run_on(snapshot: Snapshot, tenant: TenantInfo, end: datetime, **config: object) -> Collection:
    async def provide() -> Snapshot:
        return snapshot

    async def once() -> Collection:
        engine = DuckDBEngine()
        context = CollectorContext(tenant=tenant, lake=TenantView(engine, tenant.id, provide))
        try:
            return await RevenueMetricsCollector(RevenueMetricsCollector.Config(**config), context).collect(
                window_to(end)
            )
        finally:
            await engine.close()

    return asyncio.run(once())


def batch(records: Sequence[Record]) -> Batch:
    """Return subscription and payment records, told apart by their ``action`` or ``kind``, as tables of the lake."""
    return {
        "subscription": rows("subscription", [r for r in records if "action" in r]),
        "payment": rows("payment", [r for r in records if "kind" in r]),
    }


def action(
    subscription: str, when: datetime, what: str, amount: int | None = None, **more: object
) -> dict[str, object]:
    """Return an action of a monthly subscription in EUR, of the customer of the same name unless another is given."""
    customer = str(more.pop("customer", subscription))
    recurring = {"amount_minor": amount, "currency": "EUR", "interval": "month"} if amount is not None else {}
    return {
        "tenant_id": "a",
        "event_id": next_id(),
        "event_time": when,
        "subscription_id": subscription,
        "customer_id": customer.encode(),
        "action": what,
        **recurring,
        **more,
    }


def payment(customer: str, when: datetime, amount: int, kind: str = "charge", **more: object) -> dict[str, object]:
    """Return a succeeded payment in EUR."""
    return {
        "tenant_id": "a",
        "event_id": next_id(),
        "event_time": when,
        "payment_id": "p",
        "customer_id": customer.encode(),
        "kind": kind,
        "amount_minor": amount,
        "currency": "EUR",
        "status": "succeeded",
        **more,
    }
