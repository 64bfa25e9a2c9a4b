"""BG/BB: customers who have one chance to buy in every period, and may leave at the end of any.

While a customer stays, each chance is taken with a probability that is Beta(alpha, beta) among customers; before each
chance the customer has left with a probability that is Beta(gamma, delta) among customers.

Source: Fader, Hardie & Shang 2010, Marketing Science 29:1086-1108.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import betaln, digamma, polygamma

from collectors.analytics.clv.fit import Derivatives, Estimate, Floats, Ints, maximise
from collectors.analytics.clv.history import MIN_REPEATERS
from collectors.analytics.clv.quadrature import beta_rule, first_share
from collectors.analytics.refusal import Reason, Refusal

NAMES = ("alpha", "beta", "gamma", "delta")


@dataclass(frozen=True)
class Chances:
    """Histories of chances: of ``n`` chances ``x`` were taken, the last of them being number ``last`` (0 if none).

    ``count`` is how many customers have the history; all of shape (rows,).
    """

    x: Ints
    last: Ints
    n: Ints
    count: Ints

    @property
    def customers(self) -> int:
        """Number of customers."""
        return int(self.count.sum())


def chances(x: Ints | int, last: Ints | int, n: Ints | int, count: Ints | int = 1) -> Chances:
    """Make histories of arrays or, for a single customer, of plain numbers.

    Raises ValueError where a history is impossible.
    """
    given = (np.atleast_1d(np.asarray(column, dtype=np.int64)) for column in (x, last, n, count))
    x, last, n, count = np.broadcast_arrays(*given)
    if (x < 0).any() or (x > last).any() or (last > n).any() or ((x == 0) != (last == 0)).any() or (count < 0).any():
        raise ValueError("a history needs 0 <= x <= last <= n, and last = 0 exactly where x = 0")
    return Chances(x, last, n, count)


@dataclass(frozen=True)
class BgBb:
    """A fitted BG/BB model."""

    estimate: Estimate

    def alive(self, rows: Chances) -> Floats:
        """Return for each row the probability of being there for the next chance."""
        return alive(self.estimate.values, rows)

    def expected(self, rows: Chances, periods: int) -> Floats:
        """Return for each row the expected purchases in the next ``periods`` chances."""
        return expected(self.estimate.values, rows, periods)

    def expected_new(self, periods: int) -> float:
        """Return the expected purchases of a new customer in the first ``periods`` chances."""
        return float(expected(self.estimate.values, chances(0, 0, 0), periods)[0])

    def dert(self, rows: Chances, rate: float) -> Floats:
        """Return for each row all future purchases, discounted by ``rate`` per period."""
        return dert(self.estimate.values, rows, rate)


def fit(rows: Chances) -> BgBb | Refusal:
    """Estimate (alpha, beta, gamma, delta); a refusal says why the data don't determine them."""
    repeaters = int(rows.count[rows.x > 0].sum())
    if repeaters < MIN_REPEATERS:
        return Refusal(Reason.TOO_FEW, f"only {repeaters} customers ever took a chance; {MIN_REPEATERS} are needed")
    starts = [np.array(start) for start in ((1.0, 1.0, 1.0, 3.0), (0.5, 2.0, 0.3, 1.0), (3.0, 3.0, 2.0, 10.0))]
    found = maximise(NAMES, starts, lambda theta: log_likelihood(theta, rows), rows.customers)
    return found if isinstance(found, Refusal) else BgBb(found)


def _end_points(rows: Chances) -> tuple[Ints, np.ndarray[tuple[int, ...], np.dtype[np.bool_]]]:
    """Return after how many chances a customer may have left, (rows, terms), and which of these apply.

    The first term is that of a customer who has not left after ``n`` chances.
    """
    gaps = np.arange(int((rows.n - rows.last).max(initial=0)) + 1)
    ends = rows.n[:, None] - gaps
    return np.maximum(ends, 0), (ends >= rows.last[:, None]) & np.ones((1, len(gaps)), dtype=np.bool_)


def _terms(theta: Floats, rows: Chances) -> Floats:
    """Return the logarithm of each term of a history's likelihood, shape (rows, 1 + terms)."""
    alpha, beta, gamma, delta = theta.tolist()
    ends, valid = _end_points(rows)
    x = rows.x[:, None]
    alive_term = betaln(alpha + x, beta + rows.n[:, None] - x) + betaln(gamma, delta + rows.n[:, None])
    # Leaving after ``end`` chances means not being there for the next, so the last end is n - 1.
    left = valid & (ends < rows.n[:, None])
    kept = np.where(left, ends, rows.n[:, None])
    left_terms = betaln(alpha + x, beta + kept - x) + betaln(gamma + 1, delta + kept)
    both = np.concatenate([alive_term, np.where(left, left_terms, -np.inf)], axis=1)
    return np.asarray(both - betaln(alpha, beta) - betaln(gamma, delta))


def log_likelihood(theta: Floats, rows: Chances) -> Derivatives:
    """Return the log-likelihood of all customers with gradient (4,) and Hessian (4, 4)."""
    alpha, beta, gamma, delta = theta.tolist()
    logs = _terms(theta, rows)
    top = logs.max(axis=1, keepdims=True)
    share = np.exp(logs - top)
    total = share.sum(axis=1, keepdims=True)
    count = rows.count.astype(np.float64)
    value = float(count @ (top + np.log(total))[:, 0])
    share /= total
    ends, _ = _end_points(rows)
    end = np.concatenate([rows.n[:, None], np.where(ends < rows.n[:, None], ends, rows.n[:, None])], axis=1)
    end = np.maximum(end, rows.last[:, None])  # terms without share need a number, any number
    x = rows.x[:, None]
    leaves = np.ones(end.shape[1])
    leaves[0] = 0.0
    taken, missed, every = alpha + x, beta + end - x, alpha + beta + end
    left, stayed, known = gamma + leaves, delta + end, gamma + delta + leaves + end
    zero = np.zeros_like(end, dtype=np.float64)
    slopes = [
        digamma(taken) - digamma(every) - digamma(alpha) + digamma(alpha + beta) + zero,
        digamma(missed) - digamma(every) - digamma(beta) + digamma(alpha + beta),
        digamma(left) - digamma(known) - digamma(gamma) + digamma(gamma + delta) + zero,
        digamma(stayed) - digamma(known) - digamma(delta) + digamma(gamma + delta),
    ]
    shared = [polygamma(1, alpha + beta) - polygamma(1, every), polygamma(1, gamma + delta) - polygamma(1, known)]
    own = [
        polygamma(1, taken) - polygamma(1, alpha) + zero,
        polygamma(1, missed) - polygamma(1, beta),
        polygamma(1, left) - polygamma(1, gamma) + zero,
        polygamma(1, stayed) - polygamma(1, delta),
    ]
    means = np.array([(share * slope).sum(axis=1) for slope in slopes])
    hessian = np.empty((4, 4))
    for i in range(4):
        for j in range(i, 4):
            second = slopes[i] * slopes[j]
            if i // 2 == j // 2:
                second = second + shared[i // 2] + (own[i] if i == j else 0.0)
            hessian[i, j] = hessian[j, i] = count @ ((share * second).sum(axis=1) - means[i] * means[j])
    return value, means @ count, hessian


def alive(theta: Floats, rows: Chances) -> Floats:
    """Return the probability of being there for the next chance, shape (rows,).

    The first term of the likelihood is being there for the last one; the customer may leave before the next.
    """
    gamma, delta = theta[2], theta[3]
    return np.asarray(_there(theta, rows) * (delta + rows.n) / (gamma + delta + rows.n))


def _there(theta: Floats, rows: Chances) -> Floats:
    """Return the probability of having been there for the last chance, shape (rows,)."""
    return first_share(_terms(theta, rows))


def expected(theta: Floats, rows: Chances, periods: int) -> Floats:
    """Return the expected purchases in the next ``periods`` chances, shape (rows,).

    The sum over periods of being there and buying; the closed form has a removable singularity at gamma = 1.
    """
    alpha, beta, gamma, delta = theta.tolist()
    lengths, index = np.unique(rows.n, return_inverse=True)
    step = np.arange(periods)
    position = delta + lengths[:, None] + step
    stays = np.exp(np.cumsum(-np.log1p(gamma / position), axis=1)).sum(axis=1)
    return np.asarray(_there(theta, rows) * (alpha + rows.x) / (alpha + beta + rows.n) * stays[index])


def dert(theta: Floats, rows: Chances, rate: float) -> Floats:
    """Return all future purchases discounted by ``rate`` > 0 per period, shape (rows,).

    The next chance is discounted once. With p ~ Beta(gamma, delta + n) the chance of leaving, a customer who has not
    left is worth the mean of (1 - p) / (rate + p).
    """
    if rate <= 0:
        raise ValueError("the discount rate must be above 0")
    alpha, beta, gamma, delta = theta.tolist()
    lengths, index = np.unique(rows.n, return_inverse=True)
    p, weights = beta_rule(np.full(len(lengths), gamma), delta + lengths)
    worth = ((1 - p) / (rate + p) * weights).sum(axis=1)
    return np.asarray(_there(theta, rows) * (alpha + rows.x) / (alpha + beta + rows.n) * worth[index])
