"""Predictions per customer as an Arrow table: for campaigns and exports, not for metrics."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from collectors.analytics.clv.valuation import Valuation
from collectors.analytics.refusal import Refusal

SCHEMA = pa.schema(
    [
        pa.field("customer_id", pa.binary()),
        pa.field("first_day", pa.date32()),
        pa.field("last_day", pa.date32()),
        pa.field("repeat_purchases", pa.int64()),
        pa.field("probability_alive", pa.float64()),
        pa.field("expected_purchases", pa.float64()),
        pa.field("expected_spend_minor", pa.float64()),
        pa.field("expected_value_minor", pa.float64()),
    ]
)


def predictions(customer_ids: pa.Array, valuation: Valuation) -> pa.Table:
    """Return a row per customer in the order of ``valuation.summary``, schema ``SCHEMA``.

    Purchases and value are discounted and over the valuation's horizon; spend and value are null without a model of
    spend.
    """
    summary, rows = valuation.summary, valuation.summary.rows
    spend, value = valuation.spend, valuation.value
    nothing = pa.nulls(len(summary.first), pa.float64())
    columns = [
        customer_ids.cast(pa.binary()),
        pa.array(summary.first.astype(np.int32)).cast(pa.date32()),
        pa.array(summary.last.astype(np.int32)).cast(pa.date32()),
        pa.array(summary.repeats),
        pa.array(rows.spread(valuation.alive)),
        pa.array(rows.spread(valuation.purchases)),
        nothing if isinstance(spend, Refusal) else pa.array(spend),
        nothing if isinstance(value, Refusal) else pa.array(value),
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)
