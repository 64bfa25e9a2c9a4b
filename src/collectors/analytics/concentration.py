"""How unequally a total is shared: top shares, the Herfindahl-Hirschman index and the Gini coefficient.

Items with the same amount are counted together: ``items[i]`` items have ``amounts[i]`` each, in any order. Items with
nothing take no part, as a platform can't know all that nobody played.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Ints: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Concentration:
    """How unequal the shares of a total are.

    ``top_percent`` is the share of the 1 % largest items (at least one), ``top_ten`` that of the ten largest, ``hhi``
    the Herfindahl-Hirschman index, the sum of squared shares: 1 if one item has all, 1/n if n items are equal.
    ``gini`` is half the mean absolute difference between two items over their mean: 0 if all are equal, (n - 1)/n if
    one of n has all (Gini 1912; in the form of https://mathworld.wolfram.com/GiniCoefficient.html).
    """

    top_percent: float
    top_ten: float
    hhi: float
    gini: float


def concentration(amounts: Ints, items: Ints) -> Concentration | None:
    """Return the concentration where ``items[i]`` items have ``amounts[i]`` each; None if there is nothing."""
    some = (amounts > 0) & (items > 0)
    largest_first = np.argsort(-amounts[some], kind="stable")
    amount, count = amounts[some][largest_first], items[some][largest_first]
    total, n = int((amount * count).sum()), int(count.sum())
    if total == 0:
        return None
    before = np.cumsum(count) - count

    def share_of_top(k: int) -> float:
        return float((amount * np.clip(k - before, 0, count)).sum() / total)

    shares = amount / total
    # An item of rank r from the top weighs n + 1 - 2 r; the ranks of equal items add up to those of their middle.
    weights = count * (n - count - 2.0 * before)
    return Concentration(
        top_percent=share_of_top(-(-n // 100)),
        top_ten=share_of_top(10),
        hhi=float((count * shares * shares).sum()),
        gini=float((weights * shares).sum() / n),
    )
