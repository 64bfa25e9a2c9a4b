"""How well a model foretold what it had not seen: the plots its authors judge it by.

The model is fitted on the time before a split and compared with what came after.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from collectors.analytics.clv.fit import Floats, Ints
from collectors.analytics.clv.history import Histories
from collectors.analytics.clv.valuation import PurchaseModel


@dataclass(frozen=True)
class ByFrequency:
    """Mean purchases after the split of customers with 0 ... n or more purchases before it, shape (n + 1,).

    ``expected`` and ``actual`` are 0 where ``customers`` is.
    """

    customers: Ints
    expected: Floats
    actual: Floats


def cumulative(model: PurchaseModel, first: Ints, days: Ints) -> Floats:
    """Return the expected repeat purchases up to the end of each of ``days``, shape of ``days``.

    ``first`` is the day on which each customer first bought, shape (customers,). They are those of new customers:
    nothing of a customer's own history is used.
    """
    born, customers = np.unique(first, return_counts=True)
    ages = np.maximum(days[:, None] - born, 0)
    distinct, index = np.unique(ages, return_inverse=True)
    return np.asarray(model.expected_new(distinct.astype(np.float64))[index].reshape(ages.shape) @ customers)


def actual_cumulative(day: Ints, occasions: Ints, first: Ints, days: Ints) -> Ints:
    """Return the repeat purchases up to the end of each of ``days``.

    ``occasions`` is how many there were on each ``day``, the first of each customer included; ``first`` as above.
    """
    order = np.argsort(day)
    total = np.concatenate([[0], np.cumsum(occasions[order])])
    every = total[np.searchsorted(day[order], days, side="right")]
    return np.asarray(every - np.searchsorted(np.sort(first), days, side="right"), dtype=np.int64)


def by_frequency(model: PurchaseModel, rows: Histories, time: float, bought: Ints, highest: int = 7) -> ByFrequency:
    """Compare expected with actual purchases, ``bought`` of shape (customers,), in the ``time`` after the split."""
    expected = rows.spread(model.predict(model.estimate.values, rows, time))
    group = np.minimum(rows.x, highest)[rows.row]
    customers = np.bincount(group, minlength=highest + 1)
    divisor = np.maximum(customers, 1)
    return ByFrequency(
        customers.astype(np.int64),
        np.bincount(group, weights=expected, minlength=highest + 1) / divisor,
        np.bincount(group, weights=bought, minlength=highest + 1) / divisor,
    )
