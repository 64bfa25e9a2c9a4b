"""A batch of sign-in attempts as arrays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from collectors.catalog.security.auth.events import Flags, Rows, Times
from collectors.catalog.security.auth.keys import Keys, key64
from collectors.model.batch import Batch

Codes = NDArray[np.int32]


class Vocabulary:
    """Words as codes: their positions, then one for all other words and one for none, so that no sender adds any."""

    def __init__(self, *words: str) -> None:
        self.labels = (*words, "other", "unknown")
        self._words = pa.array(words)

    def codes(self, column: pa.Array) -> Codes:
        """Return the code of each value of a text column."""
        found = pc.index_in(column, value_set=self._words)
        if found.null_count == 0:
            known: Codes = found.to_numpy()
            return known
        other = len(self._words)
        absent = column.is_null().to_numpy(zero_copy_only=False)
        codes: Codes = found.fill_null(other).to_numpy() + absent.astype(np.int32)
        return codes


OUTCOMES = Vocabulary("success", "failure", "locked", "challenge")
METHODS = Vocabulary("password", "token", "sso", "mfa", "passkey")
_SUCCEEDED = np.array([label == "success" for label in OUTCOMES.labels])
_FAILED = np.array([label in ("failure", "locked") for label in OUTCOMES.labels])


@dataclass(frozen=True)
class Attempts:
    """Attempts in the order of their rows.

    ``time`` is when each happened, or arrived if its clock ran ahead; ``on_time`` whether that was less than a
    window before it arrived. Times are UTC microseconds.
    """

    table: pa.RecordBatch
    time: Times
    received: Times
    on_time: Flags
    outcome: Codes
    method: Codes

    @classmethod
    def of(cls, batch: Batch, window_us: int) -> Attempts:
        """Take the columns of a batch of at least one row apart."""
        table = batch.table
        received = _microseconds(table.column("received_time"), np.int64(batch.acked_us))
        time = np.minimum(_microseconds(table.column("event_time"), received), received)
        return cls(
            table=table,
            time=time,
            received=received,
            on_time=time > received - window_us,
            outcome=OUTCOMES.codes(table.column("outcome")),
            method=METHODS.codes(table.column("method")),
        )

    def tally(self) -> Counter[tuple[str, str]]:
        """Count the attempts by outcome and method, in fixed vocabularies."""
        width = len(METHODS.labels)
        pairs = np.bincount(self.outcome * width + self.method)
        return Counter({
            (OUTCOMES.labels[pair // width], METHODS.labels[pair % width]): int(pairs[pair])
            for pair in np.flatnonzero(pairs).tolist()
        })  # fmt: skip

    @cached_property
    def failed(self) -> Flags:
        """Attempts on time that failed."""
        return _FAILED[self.outcome] & self.on_time

    @cached_property
    def succeeded(self) -> Flags:
        """Attempts on time that succeeded."""
        return _SUCCEEDED[self.outcome] & self.on_time

    @cached_property
    def principal(self) -> Keys:
        """Key of each principal; 0 where there is none."""
        return _keys(self.table.column("principal"))

    def networks(self, rows: Rows) -> Keys:
        """Key of the network of each of ``rows``; 0 where there is none."""
        return _keys(self.table.column("ip").take(pa.array(rows)))

    def panes(self, window_us: int) -> Iterator[tuple[int, Rows, Rows]]:
        """Yield, by the pane of time they arrived in, the rows with a principal that failed and that succeeded."""
        named = self.principal != 0
        failed, succeeded = np.flatnonzero(self.failed & named), np.flatnonzero(self.succeeded & named)
        first, last = int(self.received.min()) // window_us, int(self.received.max()) // window_us
        if first == last:
            yield first, failed, succeeded
            return
        arrived = self.received // window_us
        for pane in np.unique(arrived).tolist():
            yield pane, failed[arrived[failed] == pane], succeeded[arrived[succeeded] == pane]


def _microseconds(column: pa.Array, otherwise: Times | np.int64) -> Times:
    times = column.view(pa.int64())
    if column.null_count == 0:
        known: Times = times.to_numpy()
        return known
    absent = column.is_null().to_numpy(zero_copy_only=False)
    return np.where(absent, otherwise, times.fill_null(0).to_numpy())


def _keys(column: pa.Array) -> Keys:
    if column.null_count == 0:
        return key64(column)
    keys: Keys = np.zeros(len(column), np.uint64)
    keys[pc.is_valid(column).to_numpy(zero_copy_only=False)] = key64(column.drop_null())
    return keys
