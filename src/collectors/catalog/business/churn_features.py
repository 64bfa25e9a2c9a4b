"""Turn the rows of the query of subscribers into spells and features."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from collectors.analytics.tenures import DAY_S, NEVER, Bools, Spells
from collectors.catalog.business.churn_queries import LISTENING_DAYS, YEARLY

FEATURES = (
    "tenure",
    "active_days",
    "listening",
    "recent_share",
    "days_since_play",
    "skip_share",
    "billing_period",
    "renewals_due",
    "returned",
    "refunds",
)
"""What is known of a subscriber on a cut-off day, in the order of the columns of ``features``."""

_STEADY = 0.25  # share of the last 7 in 28 days of who listens the same every day
_DAYS_A_MONTH = 365.2425 / 12
_MONTHS = {name: 12 / n for name, n in YEARLY.items()}


def read_spells(subscribers: pa.Table) -> Spells:
    """Return the spells of the rows, in their order."""
    customer = subscribers.column("customer_id").combine_chunks().dictionary_encode()
    return Spells(
        customer=customer.indices.to_numpy().astype(np.int64),
        begun=_whole(subscribers, "begun"),
        recorded=_whole(subscribers, "recorded"),
        ended=_whole(subscribers, "ended", NEVER),
        told=_whole(subscribers, "told", NEVER),
        number=_whole(subscribers, "number"),
        known=np.asarray(subscribers.column("known").to_numpy(), dtype=np.bool_),
    )


def features(
    subscribers: pa.Table, spells: Spells, chosen: Bools, cutoff: date, cutoff_s: int, number: int, horizon: int
) -> npt.NDArray[np.float64]:
    """Return the features, shape (chosen, len(FEATURES)), as they were where the day ``cutoff`` began.

    ``number`` is the cut-off's in the names of the query's columns, ``horizon`` the days predicted. Amounts are
    logarithms of 1 + the amount, as what tells people apart is how many times more, not how much more.
    """
    rows = subscribers.filter(pa.array(chosen))

    def column(name: str) -> npt.NDArray[np.float64]:
        return _whole(rows, f"{name}{number}").astype(np.float64)

    plays, heard = column("plays"), column("ms")
    week_share = np.divide(column("week_ms"), heard, out=np.full(len(heard), _STEADY), where=heard > 0)
    days_since = (cutoff - date(1970, 1, 1)).days - column("last")
    months = _months(rows.column("billing"))
    age = (cutoff_s - spells.begun[chosen]) / DAY_S
    period = months * _DAYS_A_MONTH
    values = {
        "tenure": np.log1p(age),
        "active_days": column("days") / LISTENING_DAYS,
        "listening": np.log1p(heard / 3_600_000),
        "recent_share": week_share,
        "days_since_play": np.log1p(np.minimum(days_since, LISTENING_DAYS + 1)),
        "skip_share": np.divide(column("skips"), plays, out=np.zeros(len(plays)), where=plays > 0),
        "billing_period": np.log(months),
        "renewals_due": np.floor((age + horizon) / period) - np.floor(age / period),
        "returned": (spells.number[chosen] > 0).astype(np.float64),
        "refunds": np.log1p(column("refunds")),
    }
    return np.column_stack([values[name] for name in FEATURES])


def _months(billing: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    """Return how many months a billing period has; 1 where it isn't told."""
    names = pa.array(_MONTHS)
    place = pc.index_in(billing, value_set=names)
    known = pc.take(pa.array(_MONTHS.values(), pa.float64()), place)
    return np.asarray(pc.fill_null(known, 1.0).to_numpy(), dtype=np.float64)


def _whole(table: pa.Table, name: str, missing: int = 0) -> npt.NDArray[np.int64]:
    column: Any = pc.fill_null(table.column(name), missing)
    return np.asarray(column.to_numpy(), dtype=np.int64)
