"""How recurring revenue moved between two instants, customer by customer, and the rates that follow from it.

Definitions
    * Movements (https://help.chartmogul.com/hc/en-us/articles/203299912): ``new`` is from customers who never paid
      before, ``reactivation`` from those who had and did not at the start, ``churn`` from those who pay nothing at all
      any more; else more is ``expansion`` and less ``contraction``. One of several subscriptions that ends is therefore
      a contraction. What begins and ends between the instants is no movement.
    * start + new + expansion + reactivation - contraction - churn = end, in every currency, checked each time.
    * Exchange rates are no movement (https://help.chartmogul.com/hc/en-us/articles/201520952). In a reporting currency
      everything is worth what it is at the end, the start also what it was then, and the difference is the ``fx`` row:
      start + ... - churn + fx = end.
    * Gross MRR churn = (churn + contraction) / start, net = (churn + contraction - expansion - reactivation) / start:
      https://help.chartmogul.com/hc/en-us/articles/203359341. Quick ratio = (new + expansion + reactivation) /
      (churn + contraction).
    * NRR and GRR of the cohort that paid at the start: what it pays at the end, and what it pays at most as much as at
      the start, both / start, at the rates of the end. NRR is not 1 - net churn where customers came back.
    * ARPU as streaming services report it: revenue / average daily subscribers / months
      (https://spotify.relayto.com/e/spotify-f1-interactive-prospectus-l6yiz2ao/NHUEAQjq75).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import lcm
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from collectors.analytics.money import Ints, Undefined, in_whole
from collectors.analytics.recurring import UNITS, Bools, Recurring

Exact: TypeAlias = npt.NDArray[np.object_]  # Python integers of any size

MOVEMENTS = ("new", "expansion", "reactivation", "contraction", "churn")
_SIGN = np.array([1, 1, 1, -1, -1])
_NEW, _EXPANSION, _REACTIVATION, _CONTRACTION, _CHURN = range(len(MOVEMENTS))
_NONE = len(MOVEMENTS)


@dataclass(frozen=True)
class Customers:
    """Customers with recurring revenue at the start and at the end, and how the one became the other."""

    start: int
    new: int
    reactivated: int
    churned: int
    end: int

    def __add__(self, other: Customers) -> Customers:
        return Customers(
            self.start + other.start,
            self.new + other.new,
            self.reactivated + other.reactivated,
            self.churned + other.churned,
            self.end + other.end,
        )


@dataclass(frozen=True)
class Amounts:
    """MRR by currency in units of 1/1200 minor unit, of a group of customers.

    ``start`` and ``end`` have shape (currencies,), ``moved`` (never negative) has shape (movements, currencies).
    ``retained`` is what customers of the start have at the end, ``kept`` at most as much as they had.
    """

    start: Ints
    moved: Ints
    end: Ints
    retained: Ints
    kept: Ints

    def __post_init__(self) -> None:
        if not np.array_equal(self.start + _SIGN @ self.moved, self.end):
            raise ArithmeticError("recurring revenue does not add up: its movements are not the change")

    def __add__(self, other: Amounts) -> Amounts:
        return Amounts(
            self.start + other.start,
            self.moved + other.moved,
            self.end + other.end,
            self.retained + other.retained,
            self.kept + other.kept,
        )


@dataclass(frozen=True)
class Figures:
    """What ``Amounts`` are worth in one currency, as fractions of a minor unit."""

    start: Fraction
    moved: tuple[Fraction, ...]
    fx: Fraction
    end: Fraction
    cohort: Fraction  # the start at the rates of the end
    retained: Fraction
    kept: Fraction

    def rows(self) -> dict[str, int]:
        """Return start, movements, fx and end in whole minor units that add up; losses are not negative."""
        signed = [self.start, *(s * m for s, m in zip(_SIGN.tolist(), self.moved, strict=True)), self.fx]
        start, *moved, fx = in_whole(signed)
        values = [start, *(s * m for s, m in zip(_SIGN.tolist(), moved, strict=True)), fx, round(self.end)]
        return dict(zip(("start", *MOVEMENTS, "fx", "end"), values, strict=True))

    @property
    def lost(self) -> Fraction:
        """Churn and contraction."""
        return self.moved[_CHURN] + self.moved[_CONTRACTION]

    @property
    def regained(self) -> Fraction:
        """Expansion and reactivation."""
        return self.moved[_EXPANSION] + self.moved[_REACTIVATION]

    @property
    def gained(self) -> Fraction:
        """New business, expansion and reactivation."""
        return self.moved[_NEW] + self.regained


@dataclass(frozen=True)
class Change:
    """How MRR changed between two instants.

    ``of_one`` is of the customers who have only ever had accounts in one currency, ``of_several`` of the others, for
    whom ``mixed`` has each one's start and end by currency: shape (2, customers, currencies). ``fate`` says what
    movement such a customer as a whole makes, where that follows from paying or not paying.
    """

    customers: Customers
    of_one: Amounts
    of_several: Amounts
    mixed: Ints
    fate: Ints

    def __add__(self, other: Change) -> Change:
        """Add up the changes of two disjoint sets of customers over the same time, with the same currencies."""
        return Change(
            self.customers + other.customers,
            self.of_one + other.of_one,
            self.of_several + other.of_several,
            np.concatenate((self.mixed, other.mixed), axis=1),
            np.concatenate((self.fate, other.fate)),
        )

    def within(self, currency: int) -> Figures:
        """Return what happened in one currency, unconverted."""
        every = self.of_one + self.of_several
        one = np.zeros(len(every.start), dtype=np.int64)
        one[currency] = 1
        factors = [Fraction(int(f)) for f in one]
        return _figures(_worth(every, factors, factors))

    def converted(
        self, before: Sequence[Fraction | Undefined], after: Sequence[Fraction | Undefined]
    ) -> Figures | Undefined:
        """Return what happened in a reporting currency.

        ``before`` and ``after`` are what one minor unit of each currency is worth at the start and at the end. A
        factor that is undefined matters only if there is something to convert by it.
        """
        every = self.of_one + self.of_several
        known = []
        for factors, needed in ((before, every.start != 0), (after, (every.start != 0) | (every.end != 0))):
            for factor, need in zip(factors, needed.tolist(), strict=True):
                if need and isinstance(factor, Undefined):
                    return factor
            known.append([Fraction(0) if isinstance(f, Undefined) else f for f in factors])
        figures = _worth(self.of_one, known[0], known[1])
        if self.mixed.any():
            of_several = _worth_of_several(self.mixed, self.fate, known[1])
            of_several[0] = _sum(self.of_several.start, known[0])
            figures = [a + b for a, b in zip(figures, of_several, strict=True)]
        return _figures(figures)


def changes(history: Recurring, instants: Ints, spans: Collection[tuple[int, int]]) -> dict[tuple[int, int], Change]:
    """Compare MRR just before pairs of instants; ``spans`` are pairs of positions in ``instants``, which ascend.

    What happened before the first instant is known as far as ``history`` goes.
    """
    found: dict[tuple[int, int], Change] = {}
    groups = _Groups(history)
    total = np.zeros(len(history.account_customer), dtype=np.int64)
    ever = np.zeros(history.customers, dtype=np.bool_)
    begun: dict[int, tuple[Ints, Bools]] = {}
    for number, rows in enumerate(history.split(instants)):
        np.add.at(total, history.account[rows], history.mrr[rows])
        gains = rows[history.mrr[rows] > 0]
        ever[history.account_customer[history.account[gains]]] = True
        found |= {span: groups.change(*begun[span[0]], total) for span in spans if span[1] == number}
        begun = {n: state for n, state in begun.items() if any(f == n and s > number for f, s in spans)}
        if any(first == number for first, _ in spans):
            begun[number] = total.copy(), ever.copy()
    return found


class _Groups:
    """The accounts of a history, sorted by currency, and which customers have several."""

    def __init__(self, history: Recurring) -> None:
        self._customer = history.account_customer
        self._customers = history.customers
        self._currency = history.account_currency
        self._starts = np.searchsorted(self._currency, np.arange(history.currencies))
        self._ends = np.searchsorted(self._currency, np.arange(history.currencies), side="right")
        per_customer = np.bincount(self._customer, minlength=history.customers)
        self._several = np.flatnonzero(per_customer[self._customer] > 1)

    def change(self, before: Ints, ever: Bools, after: Ints) -> Change:
        paid, pays = self._paying(before), self._paying(after)
        fate = np.full(self._customers, _NONE, dtype=np.int8)
        fate[~paid & pays] = np.where(ever[~paid & pays], _REACTIVATION, _NEW)
        fate[paid & ~pays] = _CHURN
        counts = np.bincount(fate, minlength=_NONE + 1).tolist()
        customers = Customers(
            int(np.count_nonzero(paid)),
            counts[_NEW],
            counts[_REACTIVATION],
            counts[_CHURN],
            int(np.count_nonzero(pays)),
        )
        several = self._several
        of_several = self._amounts(before, after, fate, several)
        of_one = self._amounts(before, after, fate, None, less=of_several)
        who, row = np.unique(self._customer[several], return_inverse=True)
        mixed = np.zeros((2, len(who), len(self._starts)), dtype=np.int64)
        mixed[0, row, self._currency[several]] = before[several]
        mixed[1, row, self._currency[several]] = after[several]
        return Change(customers, of_one, of_several, mixed, fate[who].astype(np.int64))

    def _paying(self, total: Ints) -> Bools:
        paying = np.zeros(self._customers, dtype=np.bool_)
        paying[self._customer[total > 0]] = True
        return paying

    def _amounts(
        self, before: Ints, after: Ints, fate: npt.NDArray[np.int8], accounts: Ints | None, less: Amounts | None = None
    ) -> Amounts:
        """Add up by currency over ``accounts`` (None: all of them), ``less`` those of another group."""
        chosen = np.arange(len(before)) if accounts is None else accounts
        then, now = (before, after) if accounts is None else (before[chosen], after[chosen])
        difference = now - then
        moving = np.flatnonzero(difference)
        step, place = difference[moving], chosen[moving]
        kind = fate[self._customer[place]].astype(np.int64)
        kind = np.where(kind == _NONE, np.where(step > 0, _EXPANSION, _CONTRACTION), kind)
        moved = np.zeros((len(MOVEMENTS), len(self._starts)), dtype=np.int64)
        np.add.at(moved, (kind, self._currency[place]), np.abs(step))
        paid = fate[self._customer[chosen]]
        from_start = (paid != _NEW) & (paid != _REACTIVATION)
        sums = [self._by_currency(chosen, v) for v in (then, now, np.where(from_start, now, 0), np.minimum(then, now))]
        start, end, retained, kept = sums
        if less is None:
            return Amounts(start, moved, end, retained, kept)
        return Amounts(
            start - less.start, moved - less.moved, end - less.end, retained - less.retained, kept - less.kept
        )

    def _by_currency(self, accounts: Ints, values: Ints) -> Ints:
        edges = np.searchsorted(accounts, self._ends), np.searchsorted(accounts, self._starts)
        running = np.concatenate(([0], np.cumsum(values)))
        return np.asarray(running[edges[0]] - running[edges[1]], dtype=np.int64)


def _sum(units: Ints, factors: Sequence[Fraction]) -> Fraction:
    return sum((f * Fraction(u, UNITS) for u, f in zip(units.tolist(), factors, strict=True)), Fraction(0))


def _worth(amounts: Amounts, before: Sequence[Fraction], after: Sequence[Fraction]) -> list[Fraction]:
    """Return start, movements, end, cohort, retained, kept."""
    return [
        _sum(amounts.start, before),
        *(_sum(row, after) for row in amounts.moved),
        *(_sum(units, after) for units in (amounts.end, amounts.start, amounts.retained, amounts.kept)),
    ]


def _worth_of_several(mixed: Ints, fate: Ints, after: Sequence[Fraction]) -> list[Fraction]:
    """Return the same of customers with several currencies: each one's worth is compared as a whole."""
    scale = lcm(*(f.denominator for f in after))
    factors = np.array([int(f * scale) for f in after], dtype=object)
    then, now = (part.astype(object) @ factors for part in mixed)
    step = now - then
    kind = np.where(fate == _NONE, np.where(step > 0, _EXPANSION, _CONTRACTION), fate)
    moved = [abs(_total(step[kind == k])) for k in range(len(MOVEMENTS))]
    stayed = (fate != _NEW) & (fate != _REACTIVATION)
    sums = [*moved, _total(now), _total(then), _total(now[stayed]), _total(np.minimum(then, now))]
    return [Fraction(0), *(Fraction(value, UNITS * scale) for value in sums)]


def _total(values: Exact) -> int:
    return int(values.sum()) if len(values) else 0


def _figures(values: list[Fraction]) -> Figures:
    start, *rest = values
    moved, (end, cohort, retained, kept) = tuple(rest[: len(MOVEMENTS)]), rest[len(MOVEMENTS) :]
    change = sum((s * m for s, m in zip(_SIGN.tolist(), moved, strict=True)), Fraction(0))
    return Figures(start, moved, end - start - change, end, cohort, retained, kept)


def average_payers(history: Recurring, day_ends: Ints) -> Fraction:
    """Return the mean over days of how many customers had a paid subscription when the day ended."""
    return Fraction(int(history.payers_at(day_ends).sum()), len(day_ends))
