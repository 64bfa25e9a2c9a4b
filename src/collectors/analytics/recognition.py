"""When money for a service period is earned, and what a change in the middle of one is worth.

Definitions
    * Straight-line recognition: every day of a service period earns the same part of its invoice. By the end of its
      ``k``-th of ``n`` days, round(amount * k / n) has been earned, halves to even; what a month earns is the
      difference of two such totals. So any division of the period into months adds up to the invoice exactly.
    * Proration is to the second, as Stripe does it (https://docs.stripe.com/billing/subscriptions/prorations): at a
      change the customer gets back the old price, and owes the new one, for what remains of the period, each times
      remaining / total seconds and rounded once, halves to even.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from collectors.analytics.money import Ints, share

_SECOND_US = 1_000_000


@dataclass(frozen=True, slots=True)
class Proration:
    """What a change costs, in minor units: ``credit`` goes back to the customer, ``charge`` is owed."""

    credit: Ints
    charge: Ints

    @property
    def due(self) -> Ints:
        """Charge less credit; negative if the customer is owed."""
        return self.charge - self.credit


def prorate(old: Ints, new: Ints, start_us: Ints, end_us: Ints, change_us: Ints) -> Proration:
    """Prorate changes from a price of ``old`` to one of ``new``, both per period, at ``change_us``.

    All are int64 arrays of one shape, times in microseconds of which only whole seconds count; a change outside its
    period counts as one at the nearer end. ValueError if a period is shorter than a second or longer than 68 years.
    """
    start, end, change = (np.asarray(t, dtype=np.int64) // _SECOND_US for t in (start_us, end_us, change_us))
    remaining = end - np.clip(change, start, np.maximum(start, end))
    return Proration(share(old, remaining, end - start), share(new, remaining, end - start))


def recognised(amount: Ints, first_day: Ints, end_day: Ints, boundaries: Ints) -> Ints:
    """Return what of each invoice was earned in total before each boundary: int64, shape (boundaries, invoices).

    Invoices have an ``amount`` in minor units for the days from ``first_day`` up to but without ``end_day``. Days
    are numbers of the local calendar, such as days since 1970. ValueError if a period has no day.
    """
    total = end_day - first_day
    earned = np.empty((len(boundaries), len(amount)), dtype=np.int64)
    for row, boundary in zip(earned, boundaries.tolist(), strict=True):
        row[:] = share(amount, np.clip(boundary - first_day, 0, np.maximum(total, 0)), total)
    return earned
