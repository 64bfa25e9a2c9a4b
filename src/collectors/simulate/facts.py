"""What is exactly true of one tenant's events, tallied from the draws themselves and never from the batches.

Each class keeps one part of it; makers of events call the methods with NumPy arrays of positions, times (UTC
microseconds) and values. Days and months are those of the tenant's time zone.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from collectors.model.rollups import STREAM_MS
from collectors.simulate.local_time import LocalDays, day_name, month_name
from collectors.simulate.sampling import Flags, Floats, Index, Ints
from collectors.simulate.scenario import VARIANTS
from collectors.simulate.vocabulary import PAYMENT_KINDS, PAYMENT_STATUSES, SLATE_SIZE
from collectors.simulate.world import Attacker


class ListeningFacts:
    """Plays, streams, listeners and sessions."""

    def __init__(self, days: LocalDays, users: int) -> None:
        self._days = days
        self._users = users
        self._active: dict[int, Flags] = {}
        self._totals: defaultdict[int, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
        self.sessions: Counter[int] = Counter()
        """Sessions by the local day of their first play; known for history only."""

    def played(self, users: Index, times: Ints, ms_played: Index, skipped: Flags) -> None:
        """Count plays that ended at ``times``."""
        days = self._days.days(times)
        low, high = int(days.min()), int(days.max())
        for day in [low] if low == high else np.unique(days).tolist():
            here = slice(None) if low == high else days == day
            ms = ms_played[here]
            if day not in self._active:
                self._active[day] = np.zeros(self._users, dtype=np.bool_)
            self._active[day][users[here]] = True
            total = self._totals[day]
            total[0] += len(ms)
            total[1] += int(np.count_nonzero(ms >= STREAM_MS))
            total[2] += int(np.count_nonzero(skipped[here]))
            total[3] += int(ms.sum(dtype=np.int64))

    def began(self, first_plays: Ints) -> None:
        """Count sessions by the times of their first plays."""
        days, counts = np.unique(self._days.days(first_plays), return_counts=True)
        self.sessions.update(dict(zip(days.tolist(), counts.tolist(), strict=True)))

    @property
    def days(self) -> list[int]:
        """Local days on which anyone played, ascending."""
        return sorted(self._active)

    def active(self, day: int, window: int = 1) -> int:
        """Count users who played on ``day`` or one of the ``window - 1`` days before: DAU 1, WAU 7, MAU 30."""
        flags = [self._active[d] for d in range(day - window + 1, day + 1) if d in self._active]
        return int(np.count_nonzero(np.logical_or.reduce(flags))) if flags else 0

    def retention(self) -> dict[int, list[int]]:
        """Count, for users first seen on each day, those active 0, 1, 2, … days later, up to the last day seen."""
        if not self._active:
            return {}
        first, last = min(self._active), max(self._active)
        nobody = np.zeros(self._users, dtype=np.bool_)
        table = np.array([self._active.get(d, nobody) for d in range(first, last + 1)])
        seen = table.any(axis=0)
        cohort = np.where(seen, table.argmax(axis=0), -1)
        return {
            first + c: np.count_nonzero(table[c:, cohort == c], axis=1).tolist()
            for c in sorted(set(cohort[seen].tolist()))
        }

    def to_dict(self) -> dict[str, object]:
        keys = ("plays", "streams", "skips", "ms_played")
        totals = np.array(list(self._totals.values()), dtype=np.int64).reshape(-1, 4).sum(axis=0).tolist()
        by_day = {
            day_name(d): {
                "dau": self.active(d),
                "wau": self.active(d, 7),
                "mau": self.active(d, 30),
                "sessions": self.sessions[d],
                **dict(zip(keys, self._totals[d], strict=True)),
            }
            for d in self.days
        }
        return {
            **dict(zip(keys, totals, strict=True)),
            "sessions": self.sessions.total(),
            "days": by_day,
            "retention": {day_name(d): row for d, row in self.retention().items()},
        }


@dataclass(slots=True)
class Movements:
    """How monthly recurring revenue moved from the start of a month to the start of the next, in minor units."""

    start: int = 0
    new: int = 0
    expansion: int = 0
    reactivation: int = 0
    contraction: int = 0
    churn: int = 0
    end: int = 0

    def to_dict(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in self.__slots__}


class RevenueFacts:
    """Payments, recurring revenue and churn; money is whole minor units and never added across currencies."""

    def __init__(self, days: LocalDays, currencies: tuple[str, ...], user_currency: Ints) -> None:
        self._days = days
        self._currencies = currencies
        self._user_currency = user_currency
        self._payments: defaultdict[tuple[int, int, int, int], list[int]] = defaultdict(lambda: [0, 0])
        self._changes: list[tuple[Ints, Ints, Ints]] = []
        self.actions: Counter[str] = Counter()
        self.renewals: defaultdict[str, dict[int, list[int]]] = defaultdict(dict)
        """By interval and renewal number: customers who came to that renewal, and those who left at it."""
        self.trials = [0, 0]
        """Trials that ended, and those that became paid."""

    def paid(self, customers: Index, times: Ints, kinds: Index, statuses: Index, amounts: Ints) -> None:
        """Count payment events."""
        keys = np.stack([self._days.months(times), self._user_currency[customers], kinds, statuses])
        groups, inverse, counts = np.unique(keys, axis=1, return_inverse=True, return_counts=True)
        sums = np.zeros(groups.shape[1], dtype=np.int64)
        np.add.at(sums, inverse.reshape(-1), amounts)
        for month, currency, kind, status, count, amount in np.vstack([groups, counts, sums]).T.tolist():
            total = self._payments[month, currency, kind, status]
            total[0] += count
            total[1] += amount

    def changed(self, customers: Ints, times: Ints, monthly: Ints) -> None:
        """Note what each customer pays a month from a time on; 0 once nothing recurs."""
        self._changes.append((customers, times, monthly))

    def _monthly(self, at_us: int) -> tuple[Ints, Flags]:
        """Return each user's monthly amount at an instant, and who had ever had one before it."""
        amount = np.zeros(len(self._user_currency), dtype=np.int64)
        ever = np.zeros(len(amount), dtype=np.bool_)
        if self._changes:
            customers, times, monthly = (np.concatenate(column) for column in zip(*self._changes, strict=True))
            order = np.argsort(times, kind="stable")
            order = order[times[order] <= at_us]
            amount[customers[order]] = monthly[order]  # of several values for one place, NumPy keeps the last
            ever[customers[order[monthly[order] > 0]]] = True
        return amount, ever

    def mrr(self, at_us: int) -> dict[str, int]:
        """Return recurring revenue a month at an instant, by currency."""
        amount, _ = self._monthly(at_us)
        return {name: self._sum(amount, name) for name in sorted(set(self._currencies))}

    def subscribers(self, at_us: int) -> int:
        """Count customers who pay something recurring at an instant."""
        return int(np.count_nonzero(self._monthly(at_us)[0]))

    def movements(self, month: int) -> dict[str, Movements]:
        """Return how recurring revenue moved in a local month, by currency, customer by customer.

        A customer is new, or reactivated if it ever had revenue before the month, when it has revenue at the month's
        end but not at its start; what begins and ends within the month is no movement.
        """
        before, ever = self._monthly(self._days.month_start_us(month) - 1)
        after, _ = self._monthly(self._days.month_start_us(month + 1) - 1)
        change = after - before
        fresh, gone = before == 0, after == 0
        parts = {
            "start": before,
            "new": change * (fresh & ~ever),
            "reactivation": change * (fresh & ever),
            "expansion": change * (~fresh & (change > 0)),
            "contraction": -change * (~gone & (change < 0)),
            "churn": -change * (gone & (change < 0)),
            "end": after,
        }
        return {
            currency: Movements(**{name: self._sum(part, currency) for name, part in parts.items()})
            for currency in sorted(set(self._currencies))
        }

    def _sum(self, amount: Ints, currency: str) -> int:
        mine = np.array([c == currency for c in self._currencies])
        return int(amount[mine[self._user_currency]].sum())

    def renewed(self, interval: str, number: int, came: int, left: int) -> None:
        """Count customers of an interval who came to their ``number``-th renewal (from 1), and those who left at it."""
        total = self.renewals[interval].setdefault(number, [0, 0])
        total[0] += came
        total[1] += left

    def payments(self) -> list[dict[str, object]]:
        """Return number and sum of payments by local month, currency, kind and status."""
        merged: defaultdict[tuple[int, str, int, int], list[int]] = defaultdict(lambda: [0, 0])
        for (month, currency, kind, status), (count, amount) in self._payments.items():
            total = merged[month, self._currencies[currency], kind, status]
            total[0] += count
            total[1] += amount
        return [
            {
                "month": month_name(month),
                "currency": currency,
                "kind": PAYMENT_KINDS[kind],
                "status": PAYMENT_STATUSES[status],
                "count": count,
                "amount_minor": amount,
            }
            for (month, currency, kind, status), (count, amount) in sorted(merged.items())
        ]

    def to_dict(self) -> dict[str, object]:
        paid = [month for month, _, _, _ in self._payments]
        months = {
            month_name(month): {c: m.to_dict() for c, m in self.movements(month).items()}
            for month in range(min(paid, default=0), max(paid, default=-1) + 1)
        }
        return {
            "payments": self.payments(),
            "actions": dict(sorted(self.actions.items())),
            "movements": months,
            "renewals": {i: {str(k): v for k, v in sorted(r.items())} for i, r in sorted(self.renewals.items())},
            "trials": {"ended": self.trials[0], "converted": self.trials[1]},
        }


@dataclass(slots=True)
class EpisodeFacts:
    """What an attacker really did in one episode."""

    attacker: Attacker
    start_us: int
    end_us: int
    attempts: int = 0
    successes: int = 0
    first_us: int = 0
    last_us: int = 0
    tried: Flags = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))
    used: Flags = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))

    def __post_init__(self) -> None:
        self.tried = np.zeros(len(self.attacker.principals), dtype=np.bool_)
        self.used = np.zeros(len(self.attacker.addresses), dtype=np.bool_)

    def to_dict(self) -> dict[str, object]:
        return {
            "kind": str(self.attacker.attack.kind),
            "start_us": self.start_us,
            "end_us": self.end_us,
            "first_us": self.first_us,
            "last_us": self.last_us,
            "attempts": self.attempts,
            "successes": self.successes,
            "principals": sorted(self.attacker.principals.filter(self.tried).to_pylist()),
            "ips": sorted(self.attacker.addresses.filter(self.used).to_pylist()),
        }


class Attempts(NamedTuple):
    """Columns of an attacker's attempts: when, positions of principal and address, and whether it got in."""

    times: Ints
    tried: Index
    used: Index
    inside: Flags


class SecurityFacts:
    """Log-ins and the episodes of attacks on them."""

    def __init__(self, start_us: int) -> None:
        self._start_us = start_us
        self.outcomes: Counter[str] = Counter()
        self.episodes: dict[tuple[int, int], EpisodeFacts] = {}
        """By attacker and number of the episode, both from 0."""

    def attacked(self, number: int, attacker: Attacker, episode: int, attempts: Attempts) -> None:
        """Count attempts of one episode."""
        times = attempts.times
        if (number, episode) not in self.episodes:
            begin, end = attacker.attack.interval_us(episode, self._start_us)
            self.episodes[number, episode] = EpisodeFacts(attacker, begin, end, first_us=int(times.min()))
        facts = self.episodes[number, episode]
        facts.attempts += len(times)
        facts.successes += int(np.count_nonzero(attempts.inside))
        facts.first_us = min(facts.first_us, int(times.min()))
        facts.last_us = max(facts.last_us, int(times.max()))
        facts.tried[attempts.tried] = True
        facts.used[attempts.used] = True

    def to_dict(self) -> dict[str, object]:
        return {
            "outcomes": dict(sorted(self.outcomes.items())),
            "attacks": [facts.to_dict() for _, facts in sorted(self.episodes.items())],
        }


class LearningFacts:
    """Experiments, predictions and slates."""

    def __init__(self, experiments: tuple[str, ...], metrics: tuple[str, ...], models: tuple[str, ...], n: int) -> None:
        self._experiments = experiments
        self._metrics = metrics
        self._models = models
        self._exposed = np.zeros((len(experiments), len(VARIANTS), n), dtype=np.bool_)
        self.exposures = np.zeros((len(experiments), len(VARIANTS)), dtype=np.int64)
        self.outcomes = np.zeros((len(experiments), len(VARIANTS)), dtype=np.int64)
        self.outcome_sums = np.zeros((len(experiments), len(VARIANTS)))
        self.predictions = np.zeros((len(models), 2), dtype=np.int64)
        """By model: before drift, and since it began."""
        self.labels = np.zeros((len(models), 2), dtype=np.int64)
        """By model: labels, and those that are 1."""
        self.slates = 0
        self.actions: Counter[str] = Counter()
        self.positions = np.zeros((SLATE_SIZE, 2), dtype=np.int64)
        """By position in the slate: reactions of any kind, and positive ones."""

    def exposed(self, experiments: Index, variants: Index, units: Index) -> None:
        """Count exposures."""
        self._exposed[experiments, variants, units] = True
        np.add.at(self.exposures, (experiments, variants), 1)

    @property
    def units(self) -> Ints:
        """Number of different units exposed, by experiment and variant."""
        return np.asarray(np.count_nonzero(self._exposed, axis=2), dtype=np.int64)

    def observed(self, metrics: Index, variants: Index, values: Floats) -> None:
        """Count outcomes; the metric is that of the experiment at the same position."""
        np.add.at(self.outcomes, (metrics, variants), 1)
        np.add.at(self.outcome_sums, (metrics, variants), values)

    def reacted(self, positions: Index, positive: Flags) -> None:
        """Count reactions to items of slates."""
        self.positions[:, 0] += np.bincount(positions, minlength=SLATE_SIZE)
        self.positions[:, 1] += np.bincount(positions[positive], minlength=SLATE_SIZE)

    def to_dict(self) -> dict[str, object]:
        return {
            "experiments": {
                name: {
                    variant: {
                        "units": int(self.units[i, v]),
                        "exposures": int(self.exposures[i, v]),
                        "outcomes": int(self.outcomes[i, v]),
                        "outcome_sum": float(self.outcome_sums[i, v]),
                        "metric": self._metrics[i],
                    }
                    for v, variant in enumerate(VARIANTS)
                }
                for i, name in enumerate(self._experiments)
            },
            "models": {
                name: {
                    "predictions": int(self.predictions[i].sum()),
                    "predictions_since_drift": int(self.predictions[i, 1]),
                    "labels": int(self.labels[i, 0]),
                    "positives": int(self.labels[i, 1]),
                }
                for i, name in enumerate(self._models)
            },
            "slates": self.slates,
            "feedback": {
                "actions": dict(sorted(self.actions.items())),
                "positions": [{"reactions": r, "positive": p} for r, p in self.positions.tolist()],
            },
        }
