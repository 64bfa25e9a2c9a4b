"""The product-limit estimate of survival.

Kaplan & Meier (1958), JASA 53:457-481; delayed entry as in Klein & Moeschberger, Survival Analysis, section 4.6;
variance after Greenwood (1926); pointwise bands on the log(-log) scale after Kalbfleisch & Prentice; interval of the
median after Brookmeyer & Crowley (1982), Biometrics 38:29-41; restricted mean after Klein & Moeschberger, 4.5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from collectors.analytics.survival.life_table import Floats, Ints, LifeTable, life_table

Scale: TypeAlias = Literal["log-log", "log"]

_NO_INTERVAL = "nobody had left by then, so there is no interval"
_ROUNDING = 1e-12  # a product that should be 0.5 may be a little above


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its standard error and interval; what is undefined is None, and ``reason`` says why."""

    value: float | None
    lower: float | None = None
    upper: float | None = None
    standard_error: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class KaplanMeier:
    """A survival curve: constant from each of ``times`` to the next, 1 before the first; arrays of shape (times,).

    ``log_variance`` is Greenwood's sum, the variance of log S; it is infinite where the curve reaches 0.
    """

    times: Floats
    survival: Floats
    log_variance: Floats
    at_risk: Ints
    deaths: Ints
    table: LifeTable

    def at(self, time: float, level: float = 0.95, scale: Scale = "log-log") -> Estimate:
        """Return the probability to survive beyond ``time``; undefined where nobody was at risk so long."""
        place = int(np.searchsorted(self.times, time, side="right")) - 1
        survival = float(self.survival[place]) if place >= 0 else 1.0
        undefined = self._unknown(time)
        if undefined:
            return Estimate(None, reason=undefined)
        if place < 0:
            return Estimate(1.0, standard_error=0.0, reason=_NO_INTERVAL)
        if survival == 0.0:
            return Estimate(0.0, reason="all at risk had left by then, so there is no interval")
        lower, upper = self.band(level, scale)
        error = survival * math.sqrt(self.log_variance[place])
        return Estimate(survival, float(lower[place]), float(upper[place]), error)

    def band(self, level: float = 0.95, scale: Scale = "log-log") -> tuple[Floats, Floats]:
        """Return the pointwise lower and upper bounds at ``times``.

        Where the curve is 0 the variance is undefined; there the lower bound is 0 and the upper stays what it was.
        """
        z = _quantile(level)
        inside = self.survival > 0
        survival, deviation = self.survival[inside], np.sqrt(self.log_variance[inside])
        log = np.log(survival)
        if scale == "log":
            bounds = (np.exp(log - z * deviation), np.minimum(np.exp(log + z * deviation), 1.0))
        else:
            spread = np.exp(z * deviation / -log)
            bounds = (np.exp(log * spread), np.exp(log / spread))
        lower = np.zeros(len(self.times))
        upper = np.full(len(self.times), bounds[1][-1] if len(log) else 1.0)
        lower[inside], upper[inside] = bounds
        return lower, upper

    def median(self, level: float = 0.95, scale: Scale = "log-log") -> Estimate:
        """Return the first time at which the curve is at or below one half, and where its bounds are."""
        lower, upper = self.band(level, scale)
        value, low, high = (self._first_at_half(curve) for curve in (self.survival, lower, upper))
        if value is None:
            return Estimate(None, low, None, reason="fewer than half have left within the time anybody was followed")
        reason = "" if high is not None else "the upper bound lies beyond the time anybody was followed"
        return Estimate(value, low, high, reason=reason)

    def restricted_mean(self, horizon: float, level: float = 0.95) -> Estimate:
        """Return the mean time survived up to ``horizon``: the area under the curve; a normal interval."""
        undefined = self._unknown(horizon)
        if undefined:
            return Estimate(None, reason=undefined)
        inside = self.times < horizon
        if not inside.any():
            return Estimate(float(horizon), standard_error=0.0, reason=_NO_INTERVAL)
        times, survival = self.times[inside], self.survival[inside]
        widths = np.diff(np.concatenate([[0.0], times, [horizon]]))
        areas = widths * np.concatenate([[1.0], survival])
        ahead = np.cumsum(areas[:0:-1])[::-1]  # area from each death on to the horizon
        at_risk, deaths = self.at_risk[inside].astype(np.float64), self.deaths[inside].astype(np.float64)
        remain = at_risk > deaths  # where nobody remains the area ahead is 0 and so is the contribution
        terms = ahead[remain] ** 2 * deaths[remain] / (at_risk[remain] * (at_risk[remain] - deaths[remain]))
        mean, error = float(areas.sum()), math.sqrt(float(terms.sum()))
        z = _quantile(level)
        return Estimate(mean, max(0.0, mean - z * error), min(horizon, mean + z * error), error)

    def _first_at_half(self, curve: Floats) -> float | None:
        below = np.flatnonzero(curve <= 0.5 + _ROUNDING)
        if not len(below) or self._unknown(float(self.times[below[0]])):
            return None
        return float(self.times[below[0]])

    def _unknown(self, time: float) -> str:
        """Say why nothing is known of ``time``; empty if something is."""
        end = self.table.followed_to
        ended = bool(len(self.survival)) and self.survival[-1] == 0.0
        if self.table.gap:
            place = int(np.searchsorted(self.times, time, side="right")) - 1
            if time > end or (place >= 0 and self.survival[place] == 0.0):
                return f"nobody was under observation between {end:g} and the next entry"
            return ""
        if not self.table.subjects:
            return "nobody was observed"
        return f"nobody was followed for more than {end:g}" if time > end and not ended else ""


def kaplan_meier(
    durations: npt.ArrayLike,
    events: npt.ArrayLike,
    entry: npt.ArrayLike | None = None,
    counts: npt.ArrayLike | None = None,
) -> KaplanMeier:
    """Estimate survival from right-censored lifetimes with delayed entry; arguments as in ``life_table``."""
    table = life_table(durations, events, entry, counts)
    at_risk, deaths = table.at_risk.astype(np.float64), table.deaths.astype(np.float64)
    remaining = at_risk - deaths
    increments = np.full(len(deaths), np.inf)
    np.divide(deaths, at_risk * remaining, out=increments, where=remaining > 0)
    return KaplanMeier(
        times=table.times,
        survival=np.cumprod(remaining / at_risk, dtype=np.float64),
        log_variance=np.cumsum(increments),
        at_risk=table.at_risk,
        deaths=table.deaths,
        table=table,
    )


def _quantile(level: float) -> float:
    """Return the normal deviate that leaves half of ``1 - level`` above it."""
    return float(-ndtri((1 - level) / 2))
