"""Is the hazard ratio the same at all times? The test of Grambsch & Therneau (1994), Biometrika 81:515-526.

It correlates Schoenfeld's residuals, scaled by the average variance, with a function of time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import chdtrc
from scipy.stats import rankdata

from collectors.analytics.survival.cox import ChiSquare, CoxModel, RiskSets
from collectors.analytics.survival.kaplan_meier import kaplan_meier
from collectors.analytics.survival.life_table import Floats, checked

Transform: TypeAlias = Literal["km", "rank", "identity", "log"]


@dataclass(frozen=True, slots=True)
class Proportionality:
    """The test for each covariate, by name, and for all at once; a small p-value says the ratio changes with time.

    ``residuals`` are Schoenfeld's, unscaled, shape (deaths, p), in the order of ``times`` (deaths,).
    """

    covariates: Mapping[str, ChiSquare]
    overall: ChiSquare | None
    times: Floats
    residuals: Floats


def proportionality(
    model: CoxModel,
    covariates: npt.ArrayLike,
    durations: npt.ArrayLike,
    events: npt.ArrayLike,
    entry: npt.ArrayLike | None = None,
    transform: Transform = "km",
) -> Proportionality | None:
    """Test the assumption of ``model`` on the data it was fitted to; None if all died at one time.

    ``transform`` is the function of time: 1 - Kaplan-Meier just before it, its rank, itself or its logarithm.
    """
    time, died, start, _ = checked(durations, events, entry)
    x = np.asarray(covariates, dtype=np.float64)
    # Residuals are differences of covariates, so centring changes nothing but rounding.
    sets = RiskSets.of(x - model.means, time, died, start, model.ties)
    state = sets.at(model.coefficients)
    residuals = sets.x[sets.died] - state.means[sets.group]
    times = sets.times[sets.group]
    g = _transformed(times, transform, durations, events, entry)
    g = g - g.mean()
    spread = float(g @ g)
    if spread <= 0.0:
        return None
    sums = g @ residuals
    scaled = model.deaths * model.covariance @ sums
    single = scaled**2 / (model.deaths * np.diag(model.covariance) * spread)
    overall = float(sums @ model.covariance @ sums) * model.deaths / spread
    return Proportionality(
        covariates={n: _chi(float(s), 1) for n, s in zip(model.names, single, strict=True)},
        overall=_chi(overall, len(sums)),
        times=times,
        residuals=residuals,
    )


def _transformed(
    times: Floats,
    transform: Transform,
    durations: npt.ArrayLike,
    events: npt.ArrayLike,
    entry: npt.ArrayLike | None,
) -> Floats:
    if transform == "rank":
        return np.asarray(rankdata(times), dtype=np.float64)
    if transform == "log":
        return np.log(np.maximum(times, np.finfo(np.float64).tiny))
    if transform == "identity":
        return times
    curve = kaplan_meier(durations, events, entry)
    before = np.concatenate([[1.0], curve.survival])
    return 1.0 - before[np.searchsorted(curve.times, times, side="left")]


def _chi(statistic: float, degrees: int) -> ChiSquare:
    return ChiSquare(statistic, degrees, float(chdtrc(degrees, statistic)))
