"""How well a score ranks who leaves first: Harrell's C (1982), JAMA 247:2543-2546."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from collectors.analytics.survival.life_table import Ints, checked
from collectors.errors import BadInput


@dataclass(frozen=True, slots=True)
class Concordance:
    """Pairs of subjects of whom it is known who left first, by whether the score says so."""

    concordant: int
    discordant: int
    tied: int

    @property
    def index(self) -> float | None:
        """Share of the pairs that are ranked right, ties counting one half; None if there is no pair."""
        pairs = self.concordant + self.discordant + self.tied
        return (self.concordant + self.tied / 2) / pairs if pairs else None


def concordance(
    risk: npt.ArrayLike, durations: npt.ArrayLike, events: npt.ArrayLike, entry: npt.ArrayLike | None = None
) -> Concordance:
    """Compare each who left with everyone at risk then who stayed longer; O(n log n).

    ``risk`` (n,) is higher for who should leave sooner; other arguments as in ``life_table``. Two who leave at the
    same time are no pair; one censored at that time stayed longer.
    """
    time, died, start, _ = checked(durations, events, entry)
    score = np.asarray(risk, dtype=np.float64)
    if score.shape != time.shape or not np.isfinite(score).all():
        raise BadInput("there must be one finite risk for each duration")
    rank = np.unique(score, return_inverse=True)[1].astype(np.int64)
    # Longest first; at one time the censored before those who left, so that each one's partners are a prefix.
    order = np.lexsort((died, -time.astype(np.float64)))
    leaver = died[order]
    mine = rank[order][leaver]
    ended = -time[order].astype(np.float64)
    # Partners precede the first who left at the same time.
    shared = np.searchsorted(ended, ended[leaver], side="left")
    censored = np.concatenate([[0], np.cumsum(~leaver)])
    last = np.searchsorted(ended, ended[leaver], side="right")
    partners = shared + censored[last] - censored[shared]
    below, upto = _ranked(rank[order], partners, mine)
    total = partners
    if start is not None:
        by_entry = np.argsort(-start.astype(np.float64), kind="stable")
        absent = np.searchsorted(-start[by_entry].astype(np.float64), ended[leaver], side="right")
        less, not_more = _ranked(rank[by_entry], absent, mine)
        below, upto, total = below - less, upto - not_more, total - absent
    concordant, tied = int(below.sum()), int((upto - below).sum())
    return Concordance(concordant, int(total.sum()) - concordant - tied, tied)


def _ranked(ranks: Ints, prefixes: Ints, mine: Ints) -> tuple[Ints, Ints]:
    """Count, for each query, the ranks in the first ``prefixes`` elements that are below ``mine``, and not above it.

    A wavelet matrix: bit by bit, from the highest, the elements are split stably into those with a 0 and those with
    a 1, and each query follows its own bit; the zeros it leaves behind are smaller. All queries go down at once.
    """
    low, high = np.zeros_like(prefixes), prefixes.copy()
    below = np.zeros_like(prefixes)
    level = ranks
    for bit in range(int(ranks.max(initial=0)).bit_length() - 1, -1, -1):
        ones = (level >> bit) & 1
        zeros = np.concatenate([[0], np.cumsum(1 - ones)])
        to_one = ((mine >> bit) & 1).astype(np.bool_)
        zeros_low, zeros_high = zeros[low], zeros[high]
        below += np.where(to_one, zeros_high - zeros_low, 0)
        low = np.where(to_one, zeros[-1] + low - zeros_low, zeros_low)
        high = np.where(to_one, zeros[-1] + high - zeros_high, zeros_high)
        level = np.concatenate([level[ones == 0], level[ones == 1]])
    return below, below + high - low
