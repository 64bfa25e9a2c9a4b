"""Counts, means and co-moments of groups of units: all that the tests of an experiment need of its data.

A group is whatever the caller numbers, such as (experiment, variant, metric), so one pass serves any number of running
experiments. Moments of disjoint parts merge into those of the whole, in any order: batches, workers and tenants can be
added up. Pairwise merging is by Chan, Golub & LeVeque (1979, Stanford STAN-CS-79-773); deviations are taken from the
group's own mean, never from squares of raw values, and the mean is kept in two parts, so that a large common offset
costs no digits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Moments of ``g`` groups in ``k`` variables.

    ``n`` is shaped (g,), ``mean`` and ``rest`` (g, k), where ``rest`` is what rounding took off the mean, and
    ``comoment`` (g, k, k): sums of products of deviations from the mean. A group without units is all zeros.
    """

    n: Floats
    mean: Floats
    rest: Floats
    comoment: Floats

    @staticmethod
    def of_rows(groups: Ints, values: Floats, size: int) -> Moments:
        """Return the moments of rows: ``groups`` (r,) from 0 to ``size`` - 1, ``values`` (r,) or (r, k), all finite."""
        columns = values[:, None] if values.ndim == 1 else values
        k = columns.shape[1]
        n = np.bincount(groups, minlength=size).astype(np.float64)
        units = np.maximum(n, 1.0)
        mean, rest, comoment = np.zeros((size, k)), np.zeros((size, k)), np.zeros((size, k, k))
        deviations = []
        for i in range(k):
            mean[groups, i] = columns[:, i]  # any unit of the group: units that are all the same deviate by nothing
            mean[:, i] += np.bincount(groups, columns[:, i] - mean[groups, i], size) / units
            deviations.append(columns[:, i] - mean[groups, i])
            rest[:, i] = np.bincount(groups, deviations[i], size) / units
        for i in range(k):
            for j in range(i + 1):
                products = np.bincount(groups, deviations[i] * deviations[j], size)
                comoment[:, i, j] = comoment[:, j, i] = products - n * rest[:, i] * rest[:, j]
        return Moments(n, mean, rest, comoment)

    @staticmethod
    def of_sums(n: Floats, sums: Floats, products: Floats, origin: Floats | None = None) -> Moments:
        """Return the moments of sums: ``sums`` (g, k) and ``products`` (g, k, k) of values less ``origin`` (g, k).

        With an origin among a group's own values, such as the smallest, the relative error is at most n times that
        of a float, since no value is further from the mean than sqrt(n - 1) standard deviations (Samuelson 1968).
        Raw sums (no origin) lose digits where a mean is large beside its standard deviation.
        """
        shift = sums / np.maximum(n, 1.0)[:, None]
        comoment = products - shift[:, :, None] * sums[:, None, :]
        mean, rest = _two_sum(np.zeros_like(sums) if origin is None else origin, shift)
        return Moments(n, mean, rest, comoment)

    @staticmethod
    def zeros(n: Floats, variables: int) -> Moments:
        """Return the moments of ``n`` units a group whose variables are all zero."""
        nothing = np.zeros((len(n), variables))
        return Moments(n, nothing, nothing, np.zeros((len(n), variables, variables)))

    def merge(self, other: Moments) -> Moments:
        """Return the moments of both parts' units, group by group."""
        n = self.n + other.n
        part = other.n / np.maximum(n, 1.0)
        delta = (other.mean - self.mean) + (other.rest - self.rest)
        weight = (self.n * part)[:, None, None]
        comoment = self.comoment + other.comoment + weight * delta[:, :, None] * delta[:, None, :]
        mean, rest = _two_sum(self.mean, self.rest + delta * part[:, None])
        alone = (self.n == 0)[:, None]
        return Moments(n, np.where(alone, other.mean, mean), np.where(alone, other.rest, rest), comoment)

    def take(self, groups: Ints) -> Moments:
        """Return the moments of ``groups``, in that order."""
        return Moments(self.n[groups], self.mean[groups], self.rest[groups], self.comoment[groups])

    def covariance(self) -> Floats:
        """Return the sample covariances (g, k, k); NaN for groups of fewer than two units."""
        degrees = np.where(self.n > 1, self.n - 1, np.nan)
        return self.comoment / degrees[:, None, None]


def clustered(groups: Ints, clusters: Ints, values: Floats, size: int) -> Moments:
    """Return moments over clusters of rows, in the variables (sum of values, number of rows).

    ``clusters`` numbers the randomised units, such as households, of which a row is one observation. Their ratio (see
    ``estimates.ratio``) is the mean of the rows with the standard error that their dependence within a cluster
    calls for. A cluster is in one group; one seen in several counts in each with its rows there.
    """
    pairs, row_pair = np.unique(np.stack([groups, clusters]), axis=1, return_inverse=True)
    number = row_pair.reshape(-1)
    width = pairs.shape[1]
    totals = np.bincount(number, values, width)
    rows = np.bincount(number, minlength=width).astype(np.float64)
    return Moments.of_rows(pairs[0], np.stack([totals, rows], axis=1), size)


def _two_sum(one: Floats, other: Floats) -> tuple[Floats, Floats]:
    """Return the rounded sum and exactly what rounding took off (Knuth)."""
    total = one + other
    back = total - one
    return total, (one - (total - back)) + (other - back)
