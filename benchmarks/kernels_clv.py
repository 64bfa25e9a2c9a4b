"""Measure the lifetime-value kernels on a million customers: ``python -m benchmarks.kernels_clv``.

Minimum of three runs, wall clock and CPU seconds of one process.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from collectors.analytics.clv import bg_nbd, gamma_gamma, pareto_nbd
from collectors.analytics.clv.fit import Floats, Ints
from collectors.analytics.clv.history import Histories, histories
from collectors.analytics.refusal import Refusal

TRUE = (0.243, 30.9, 0.793, 2.426)  # CDNOW's, in days


def simulate(
    customers: int, seed: int, theta: tuple[float, float, float, float] = TRUE, days: int = 273
) -> tuple[Ints, Ints, Ints]:
    """Draw BG/NBD customers who came evenly over the first 84 days; times in whole days, one purchase a day."""
    r, alpha, a, b = theta
    rng = np.random.default_rng(seed)
    rate, leave = rng.gamma(r, 1 / alpha, customers), rng.beta(a, b, customers)
    age = days - rng.integers(0, 84, customers)
    clock, x, last = np.zeros(customers), np.zeros(customers, dtype=np.int64), np.zeros(customers, dtype=np.int64)
    active = np.flatnonzero(rate > 0)
    while len(active):
        clock[active] += rng.exponential(1 / rate[active])
        active = active[clock[active] < age[active]]
        day = np.ceil(clock[active]).astype(np.int64)
        x[active] += day > last[active]
        last[active] = day
        active = active[rng.random(len(active)) >= leave[active]]
    return x, last, age


def best(run: Callable[[], object], times: int = 3) -> tuple[float, float]:
    measured = []
    for _ in range(times):
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        measured.append((time.perf_counter() - wall, time.process_time() - cpu))
    return min(wall for wall, _ in measured), min(cpu for _, cpu in measured)


def report(name: str, run: Callable[[], object], **facts: object) -> None:
    wall, cpu = best(run)
    print(json.dumps({"name": name, "wall_s": round(wall, 3), "cpu_s": round(cpu, 3), **facts}), flush=True)


def main() -> None:
    customers = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    x, last, age = simulate(customers, 1)
    rows = histories(x, last, age)
    report("unique rows", partial(histories, x, last, age), customers=customers, rows=len(rows.x))

    def from_columns() -> object:
        return bg_nbd.fit(histories(x, last, age))

    report("BG/NBD fit, with unique rows", from_columns)
    for name, model in (("MBG/NBD", partial(bg_nbd.fit, may_leave_at_once=True)), ("Pareto/NBD", pareto_nbd.fit)):
        report(f"{name} fit", partial(model, fresh(rows)))
    fitted = bg_nbd.fit(rows)
    assert not isinstance(fitted, Refusal)

    def predict() -> Floats:
        again = histories(x, last, age)
        return again.spread(fitted.expected(again, 365.0))

    report("BG/NBD prediction, with unique rows", predict)
    other = pareto_nbd.fit(rows)
    assert not isinstance(other, Refusal)
    report("Pareto/NBD prediction", lambda: rows.spread(other.expected(rows, 365.0)))
    rng = np.random.default_rng(2)
    spend = rng.gamma(6.25 * np.maximum(x, 1)) / np.maximum(x, 1) / rng.gamma(3.74, 1 / 15.44, customers)
    report("Gamma-Gamma fit", lambda: gamma_gamma.fit(x, spend), repeaters=int((x > 0).sum()))
    continuous = histories(x, np.where(x > 0, last - rng.random(customers) * 0.9, 0.0), age + rng.random(customers))
    report("BG/NBD fit, no two customers alike", lambda: bg_nbd.fit(continuous), rows=len(continuous.x))


def fresh(rows: Histories) -> Histories:
    return Histories(rows.x, rows.recency, rows.age, rows.count, rows.row)


if __name__ == "__main__":
    main()
