"""The cumulative hazard, estimated without a model: Nelson (1972), Technometrics 14:945-966; Aalen (1978)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from collectors.analytics.survival.kaplan_meier import Estimate
from collectors.analytics.survival.life_table import Floats, LifeTable, life_table


@dataclass(frozen=True, slots=True)
class NelsonAalen:
    """A cumulative hazard: constant from each of ``times`` to the next, 0 before; arrays of shape (times,).

    ``variance`` is Aalen's, the sum of deaths over the squared number at risk.
    """

    times: Floats
    hazard: Floats
    variance: Floats
    table: LifeTable

    def at(self, time: float, level: float = 0.95) -> Estimate:
        """Return the cumulative hazard at ``time`` with an interval on the log scale."""
        if time > self.table.followed_to:
            return Estimate(None, reason=f"nobody was followed for more than {self.table.followed_to:g}")
        place = int(np.searchsorted(self.times, time, side="right")) - 1
        if place < 0:
            return Estimate(0.0, standard_error=0.0, reason="nobody had left by then, so there is no interval")
        hazard, error = float(self.hazard[place]), math.sqrt(self.variance[place])
        spread = math.exp(-float(ndtri((1 - level) / 2)) * error / hazard)
        return Estimate(hazard, hazard / spread, hazard * spread, error)


def nelson_aalen(
    durations: npt.ArrayLike,
    events: npt.ArrayLike,
    entry: npt.ArrayLike | None = None,
    counts: npt.ArrayLike | None = None,
) -> NelsonAalen:
    """Estimate the cumulative hazard; arguments as in ``life_table``."""
    table = life_table(durations, events, entry, counts)
    at_risk = table.at_risk.astype(np.float64)
    return NelsonAalen(
        table.times, np.cumsum(table.deaths / at_risk), np.cumsum(table.deaths / (at_risk * at_risk)), table
    )
