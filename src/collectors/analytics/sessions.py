"""Sessions: what a person does without a longer pause.

A session ends when nothing has gone on for longer than a gap. The pause counts from the latest end of anything before,
not from the end of the previous item: a long play bridges what follows a short one that it overlaps. Midnight ends
nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Ints: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Sessions:
    """Sessions by person, then time: each array has shape (sessions,); times are in the unit that was given."""

    person: Ints
    start: Ints
    end: Ints

    def since(self, time: int) -> Sessions:
        """Return the sessions that began at ``time`` or later."""
        chosen = self.start >= time
        return Sessions(self.person[chosen], self.start[chosen], self.end[chosen])

    @property
    def people(self) -> int:
        """How many people had a session."""
        return int(np.count_nonzero(np.diff(self.person))) + 1 if len(self.person) else 0


def sessions(person: Ints, start: Ints, end: Ints, gap: int) -> Sessions:
    """Put what people did from ``start`` to ``end`` together; arrays of equal length, in any order.

    ``person`` are codes, not negative; no end may be before its start. A pause of exactly ``gap`` ends nothing.
    """
    if not len(person):
        return Sessions(person, start, end)
    order = _by_person_and_time(person, start)
    person, start, end = person[order], start[order], end[order]
    another = np.diff(person, prepend=person[0] - 1) != 0
    # One running maximum serves all people, as each one's times lie above those of the one before.
    lift = np.cumsum(another) * (int(end.max()) - int(end.min()) + 1)
    reached = np.maximum.accumulate(end + lift) - lift
    begins = another
    begins[1:] |= start[1:] - reached[:-1] > gap
    at = np.flatnonzero(begins)
    return Sessions(person[at], start[at], np.maximum.reduceat(end, at))


def _by_person_and_time(person: Ints, start: Ints) -> npt.NDArray[np.intp]:
    """Return the order by person, then start; at equal starts either order gives the same sessions."""
    earliest = int(start.min())
    span = int(start.max()) - earliest + 1
    if (int(person.max()) + 1) * span <= np.iinfo(np.int64).max:
        return np.argsort(person * span + (start - earliest))  # one key sorts several times faster than two
    return np.lexsort((start, person))
