"""Proportional hazards: how covariates multiply the rate of leaving.

Partial likelihood of Cox (1972, 1975), ties after Efron (1977), JASA 72:557-565, or Breslow (1974); delayed entry by
risk sets ``entry < t <= duration``; baseline hazard after Breslow, with the ties of the fit.

Every sum over a risk set is a difference of running sums over subjects in the order of their times. The matrix of
second derivatives needs no such sum per time: each subject's cross products enter once, weighted by the hazard that
passed while they were at risk. So a step costs one matrix product, O(n p^2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve
from scipy.special import chdtrc, erfc, ndtri

from collectors.analytics.refusal import Reason, Refusal
from collectors.analytics.survival.life_table import Bools, Floats, Ints, Numbers, checked
from collectors.errors import BadInput

Ties: TypeAlias = Literal["efron", "breslow"]

_STEPS = 40
_HALVINGS = 20
_STEP_TOLERANCE = 1e-8  # of a coefficient per standard deviation of its covariate
_FARTHEST = 8.0  # log hazard by which one step may move a subject: beyond it the quadratic says nothing
_WIDEST = 300.0  # log hazard over which weights, and squares of their inverses, are numbers
_RANK_TOLERANCE = 1e-9
_FADED = 1e-7
"""Part of the information at 0 below which it is vanishing: on the way to infinity it falls by e each step."""


class ChiSquare(NamedTuple):
    """A chi-square statistic, its degrees of freedom and upper tail."""

    statistic: float
    degrees: int
    p_value: float


@dataclass(frozen=True, slots=True)
class CoxModel:
    """A fitted model; vectors of shape (p,) are in the order of ``names``, per unit of the covariate."""

    names: tuple[str, ...]
    coefficients: Floats
    covariance: Floats
    means: Floats
    log_likelihood: float
    null_log_likelihood: float
    score_test: ChiSquare
    subjects: int
    deaths: int
    ties: Ties
    baseline_times: Floats
    baseline_hazard: Floats
    """Cumulative hazard, at ``baseline_times``, of a subject whose covariates are ``means``."""

    @property
    def standard_errors(self) -> Floats:
        """Standard errors from the observed information."""
        return np.asarray(np.sqrt(np.diag(self.covariance)))

    @property
    def p_values(self) -> Floats:
        """Two-sided p-values of each coefficient (Wald)."""
        return np.asarray(erfc(np.abs(self.coefficients) / self.standard_errors / math.sqrt(2)))

    @property
    def likelihood_ratio_test(self) -> ChiSquare:
        """Test of all coefficients at once by twice the gain in log-likelihood."""
        return _chi_square(2 * (self.log_likelihood - self.null_log_likelihood), len(self.names))

    @property
    def wald_test(self) -> ChiSquare:
        """Test of all coefficients at once by their distance from 0 in standard errors."""
        return _chi_square(
            float(self.coefficients @ np.linalg.solve(self.covariance, self.coefficients)), len(self.names)
        )

    def interval(self, level: float = 0.95) -> tuple[Floats, Floats]:
        """Return lower and upper bounds of the coefficients; their exponentials bound the hazard ratios."""
        reach = -float(ndtri((1 - level) / 2)) * self.standard_errors
        return self.coefficients - reach, self.coefficients + reach

    def risk(self, covariates: npt.ArrayLike) -> Floats:
        """Return log relative hazards, shape (n,), of ``covariates`` (n, p) against a subject at the means."""
        return np.asarray((np.asarray(covariates, dtype=np.float64) - self.means) @ self.coefficients)

    def survival(self, covariates: npt.ArrayLike, times: npt.ArrayLike) -> Floats:
        """Return survival beyond ``times`` (t,) of ``covariates`` (n, p), shape (n, t)."""
        place = np.searchsorted(self.baseline_times, np.asarray(times), side="right")
        hazard = np.concatenate([[0.0], self.baseline_hazard])[place]
        return np.asarray(np.exp(-np.exp(self.risk(covariates))[:, None] * hazard))


def cox(
    covariates: npt.ArrayLike,
    durations: npt.ArrayLike,
    events: npt.ArrayLike,
    entry: npt.ArrayLike | None = None,
    *,
    names: Sequence[str] | None = None,
    ties: Ties = "efron",
) -> CoxModel | Refusal:
    """Fit a proportional-hazards model by Newton's method.

    ``covariates`` (n, p); other arguments as in ``life_table``. Refuses, with the reason, where the maximum of the
    partial likelihood does not exist or is not unique: nobody left, a covariate is constant, one is a combination of
    others among those at risk, or one separates who leaves next (monotone likelihood).
    """
    x = np.asarray(covariates, dtype=np.float64)
    time, died, start, _ = checked(durations, events, entry)
    if x.ndim != 2 or x.shape[0] != len(time) or not x.shape[1] or not np.isfinite(x).all():
        raise BadInput("covariates must be finite numbers, a row for each duration and at least one column")
    labels = tuple(names) if names is not None else tuple(f"x{number}" for number in range(x.shape[1]))
    if len(labels) != x.shape[1]:
        raise BadInput("there must be one name for each covariate")
    if not died.any():
        return Refusal(Reason.NO_EVENTS, "nobody left")
    means, scales = x.mean(axis=0), x.std(axis=0)
    constant = scales <= _RANK_TOLERANCE * np.abs(means) / 1000
    if constant.any():
        worst = labels[int(np.argmax(constant))]
        return Refusal(Reason.CONSTANT, f"{worst} is the same for everybody", worst)
    sets = RiskSets.of((x - means) / scales, time, died, start, ties)
    found = _maximise(sets, labels)
    if isinstance(found, Refusal):
        return found
    beta, covariance, state, null = found
    return CoxModel(
        names=labels,
        coefficients=beta / scales,
        covariance=covariance / np.outer(scales, scales),
        means=means,
        log_likelihood=state.log_likelihood,
        null_log_likelihood=null.log_likelihood,
        score_test=_chi_square(float(null.score @ np.linalg.solve(null.information, null.score)), len(beta)),
        subjects=len(time),
        deaths=int(died.sum()),
        ties=ties,
        baseline_times=sets.times,
        baseline_hazard=np.cumsum(state.hazards),
    )


class State(NamedTuple):
    """The partial likelihood, its derivatives and the hazard at each time of death, at some coefficients."""

    log_likelihood: float
    score: Floats
    information: Floats
    hazards: Floats
    means: Floats
    """Weighted means of the covariates at risk, shape (times, p): what Schoenfeld's residuals are taken from."""


@dataclass(frozen=True, slots=True)
class RiskSets:
    """Subjects in the order of their times, and where each time of death stands in that order."""

    x: Floats
    died: Bools
    times: Floats
    first: Ints
    """First subject, in order, whose duration reaches each time."""
    late: Ints
    """Number of entries before each time, in the order of entry."""
    by_entry: Ints | None
    until: Ints
    """Number of times up to each subject's end."""
    since: Ints | None
    """Number of times up to each subject's entry."""
    group: Ints
    """Time of each death, in order, as a place in ``times``."""
    fraction: Floats
    """Share of the tied deaths that Efron's method takes out of the risk set before each death; 0 for Breslow's."""
    order: Ints

    @classmethod
    def of(cls, x: Floats, time: Numbers, died: Bools, start: Numbers | None, ties: Ties) -> RiskSets:
        """Order the subjects."""
        order = np.argsort(time, kind="stable")
        ended, dead = time[order].astype(np.float64), died[order]
        times, group, counts = np.unique(ended[dead], return_inverse=True, return_counts=True)
        begins = np.concatenate([[0], np.cumsum(counts)[:-1]])
        rank = np.arange(len(group)) - begins[group]
        fraction = rank / counts[group] if ties == "efron" else np.zeros(len(group))
        late, by_entry, since = np.zeros(len(times), dtype=np.int64), None, None
        if start is not None:
            begun = start[order].astype(np.float64)
            by_entry = np.argsort(begun, kind="stable")
            late = np.searchsorted(begun[by_entry], times, side="left")
            since = np.searchsorted(times, begun, side="right")
        first = np.searchsorted(ended, times, side="left")
        until = np.searchsorted(times, ended, side="right")
        return cls(x[order], dead, times, first, late, by_entry, until, since, group, fraction, order)

    def at_risk(self, values: Floats) -> Floats:
        """Sum ``values`` (n, …) over each risk set, shape (times, …)."""
        sums = _from_the_end(values)[self.first]
        if self.by_entry is not None:
            sums = sums - _from_the_end(values[self.by_entry])[self.late]
        return sums

    def at(self, beta: Floats) -> State:
        """Evaluate the partial likelihood at ``beta`` (p,)."""
        eta = self.x @ beta
        top = float(eta.max())
        weight = np.exp(np.maximum(eta - top, -_WIDEST))
        weighted = self.x * weight[:, None]
        size, k = len(self.times), self.group
        s0, s1 = self.at_risk(weight), self.at_risk(weighted)
        d0 = np.bincount(k, weights=weight[self.died], minlength=size)
        starts = np.searchsorted(k, np.arange(size))
        d1 = np.add.reduceat(weighted[self.died], starts, axis=0)
        # At least the dying themselves; differences of running sums may lose them to rounding.
        left = np.maximum(s0[k] - self.fraction * d0[k], (1.0 - self.fraction) * d0[k])
        once = 1.0 / left
        a = np.bincount(k, weights=once, minlength=size)
        b = np.bincount(k, weights=self.fraction * once, minlength=size)
        log_likelihood = float(eta[self.died].sum() - np.log(left).sum() - top * len(k))

        passed = np.concatenate([[0.0], np.cumsum(a)])
        exposure = passed[self.until] if self.since is None else passed[self.until] - passed[self.since]
        exposure[self.died] -= b[k]
        share = weight * exposure
        score = self.x.T @ (self.died - share)

        aa = np.bincount(k, weights=once * once, minlength=size)
        ab = np.bincount(k, weights=self.fraction * once * once, minlength=size)
        bb = np.bincount(k, weights=self.fraction * self.fraction * once * once, minlength=size)
        cross = (s1 * ab[:, None]).T @ d1
        outer = (s1 * aa[:, None]).T @ s1 - cross - cross.T + (d1 * bb[:, None]).T @ d1
        information: Floats = (self.x * share[:, None]).T @ self.x - outer
        deaths = np.bincount(k, minlength=size)
        means: Floats = (s1 * a[:, None] - d1 * b[:, None]) / deaths[:, None]
        hazards = np.asarray(a * math.exp(-top), dtype=np.float64)
        return State(log_likelihood, score, information, hazards, means)


def _maximise(sets: RiskSets, labels: Sequence[str]) -> tuple[Floats, Floats, State, State] | Refusal:
    """Climb to the maximum; return it, the covariance, and the states there and at 0."""
    beta = np.zeros(sets.x.shape[1])
    state = null = sets.at(beta)
    values, vectors = np.linalg.eigh(null.information)
    if values[0] <= _RANK_TOLERANCE * max(1.0, values[-1]):
        worst = labels[int(np.argmax(np.abs(vectors[:, 0])))]
        detail = f"{worst} is constant, or a combination of others, among those at risk when someone left"
        return Refusal(Reason.COLLINEAR, detail, worst)
    to_unit = vectors / np.sqrt(values)
    for _ in range(_STEPS):
        if np.linalg.eigvalsh(to_unit.T @ state.information @ to_unit)[0] <= _FADED:
            return _separated(beta, labels)
        step = cho_solve(cho_factor(state.information), state.score)
        step *= min(1.0, _FARTHEST / max(float(np.abs(sets.x @ step).max()), _STEP_TOLERANCE))
        if np.ptp(sets.x @ (beta + step)) > _WIDEST:
            return _separated(beta, labels)
        if np.abs(step).max() <= _STEP_TOLERANCE:
            # This step squares the distance once more.
            beta = beta + step
            state = sets.at(beta)
            covariance = cho_solve(cho_factor(state.information), np.eye(len(beta)))
            return beta, covariance, state, null
        # Rounding is relative to the sums, which the likelihood at 0 measures; at the maximum it may be near 0.
        slack = 1e-12 * (1.0 + abs(null.log_likelihood))
        ahead = _climb(sets, beta, step, state.log_likelihood - slack)
        if ahead is None:
            return Refusal(Reason.NOT_CONVERGED, "the likelihood could not be maximised; transform the covariates")
        beta, state = ahead
    # The likelihood still rises although each step should have squared the distance to its maximum.
    return _separated(beta, labels)


def _climb(sets: RiskSets, beta: Floats, step: Floats, least: float) -> tuple[Floats, State] | None:
    """Take the step, or the largest half, quarter, … of it that does not lead down."""
    for _ in range(_HALVINGS):
        ahead = sets.at(beta + step)
        if ahead.log_likelihood >= least:
            return beta + step, ahead
        step = step / 2
    return None


def _separated(beta: Floats, labels: Sequence[str]) -> Refusal:
    worst = labels[int(np.argmax(np.abs(beta)))]
    detail = f"{worst} separates those who leave from those at risk, so no finite value fits"
    return Refusal(Reason.SEPARATION, detail, worst)


def _from_the_end(values: Floats) -> Floats:
    """Return sums of all, all but the first, …, none of the elements."""
    sums = np.zeros((len(values) + 1, *values.shape[1:]))
    np.cumsum(values[::-1], axis=0, out=sums[-2::-1])
    return sums


def _chi_square(statistic: float, degrees: int) -> ChiSquare:
    return ChiSquare(statistic, degrees, float(chdtrc(degrees, statistic)))
