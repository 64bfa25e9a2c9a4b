"""A week of workers that follow a diurnal load, simulated: ``python -m benchmarks.scaling [--out docs]``.

Fluid model, one step a second: events queue in order of arrival, each ready worker serves ``RATE`` of them a second. A
worker that is asked for is ready ``START_SECONDS`` later; one that is given up goes at once. The scaler sees what it
would see in production: every ``LOOK_SECONDS``, utilisation over that time as the workers measured it, and the age of
the oldest event that waits. The freshness objective is that no event waits longer than ``FRESH_SECONDS``.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from collectors.runtime.scaling import Load, Scaler, ScalingPolicy

RATE = 10_000.0
"""Events a second that one worker can do."""
START_SECONDS = 45
LOOK_SECONDS = 15
FRESH_SECONDS = 60.0
WEEK = 7 * 86_400
POLICY = ScalingPolicy(minimum=2, maximum=64)


def week(seed: int) -> np.ndarray:
    """Return events per second over a week: days and nights, weekends, noise, and a few releases that double it."""
    rng = np.random.default_rng(seed)
    t = np.arange(WEEK)
    hour = t / 3600 % 24
    day = t // 86_400
    # Two daily humps, as listening has them: commuting and evening.
    shape = 0.22 + 0.45 * np.exp(-(((hour - 8.5) / 2.6) ** 2)) + 0.75 * np.exp(-(((hour - 19.0) / 3.4) ** 2))
    weekend = np.where(day >= 5, 0.9, 1.0)
    # A slow random walk that returns to 0 within hours, per minute.
    walk = np.zeros(WEEK // 60)
    for i in range(1, len(walk)):
        walk[i] = 0.98 * walk[i - 1] + rng.normal(0, 0.012)
    level = 220_000 * shape * weekend * np.exp(np.repeat(walk, 60))
    for start in rng.choice(WEEK - 7200, size=4, replace=False):
        rise = np.clip((t - start) / 300, 0, 1) * np.exp(-np.clip(t - start, 0, None) / 2400)
        level = level * (1 + 0.6 * rise)
    return level * rng.normal(1, 0.03, WEEK).clip(0.8, 1.2)


@dataclass(frozen=True)
class Run:
    """What came of a week; ``size``, ``busy`` and ``age`` are per second."""

    size: np.ndarray
    busy: np.ndarray
    age: np.ndarray

    @property
    def worker_hours(self) -> float:
        return float(self.size.sum() / 3600)

    @property
    def utilisation(self) -> float:
        """Work done over work that could have been done."""
        return float(self.busy.sum() / self.size.sum())


def simulate(load: np.ndarray, scaler: Scaler | None, size: int) -> Run:
    """Run the week with a fixed size, or with a scaler that begins at ``size``. Workers that start are paid for."""
    sizes, busy, ages = np.empty(len(load)), np.empty(len(load)), np.empty(len(load))
    arrived = np.cumsum(load)
    served, oldest, ready = 0.0, 0, size
    starting: list[int] = []
    worked = offered = 0.0
    for t in range(len(load)):
        while starting and starting[0] <= t:
            starting.pop(0)
            ready += 1
        done = min(arrived[t] - served, ready * RATE)
        served += done
        while oldest <= t and arrived[oldest] <= served + 1e-6:
            oldest += 1
        age = max(0, t - oldest)
        worked, offered = worked + done / RATE, offered + ready
        sizes[t], busy[t], ages[t] = ready + len(starting), done / RATE, age
        if scaler is not None and t % LOOK_SECONDS == LOOK_SECONDS - 1:
            used = min(1.0, worked / offered)
            wanted = scaler.observe(Load(float(t), ready, used, float(age), starting=len(starting))).size
            worked = offered = 0.0
            have = ready + len(starting)
            starting += [t + START_SECONDS] * max(0, wanted - have)
            for _ in range(max(0, have - wanted)):
                if starting:
                    starting.pop()
                else:
                    ready -= 1
    return Run(sizes, busy, ages)


def smallest_fixed(load: np.ndarray) -> int:
    """Return the smallest fixed size with which no event waits too long."""
    size = math.ceil(load.mean() / RATE)
    while simulate(load, None, size).age.max() > FRESH_SECONDS:
        size += 1
    return size


def figures(seed: int) -> tuple[dict[str, object], np.ndarray, Run, int]:
    """Return the figures of one seed, and what the chart is drawn from."""
    load = week(seed)
    run = simulate(load, Scaler(POLICY), 8)
    per_minute = load.reshape(-1, 60).mean(axis=1).max()
    fixed = math.ceil(per_minute / RATE / POLICY.target)
    tight = smallest_fixed(load)
    changes = int(np.count_nonzero(np.diff(run.size)))
    found = {
        "seed": seed,
        "utilisation_mean": round(run.utilisation, 4),
        "oldest_event_seconds_max": float(run.age.max()),
        "freshness_objective_seconds": FRESH_SECONDS,
        "seconds_over_objective": int(np.count_nonzero(run.age > FRESH_SECONDS)),
        "workers_min": int(run.size.min()),
        "workers_max": int(run.size.max()),
        "size_changes_per_day": round(changes / 7, 1),
        "worker_hours": round(run.worker_hours, 1),
        "fixed_for_peak_at_target": fixed,
        "saved_against_it": round(1 - run.worker_hours / (fixed * WEEK / 3600), 4),
        "fixed_smallest_that_keeps_objective": tight,
        "saved_against_smallest": round(1 - run.worker_hours / (tight * WEEK / 3600), 4),
        "policy": asdict(POLICY),
    }
    return found, load, run, fixed


def chart(load: np.ndarray, run: Run, fixed: int) -> str:
    """Draw load and size over the week as SVG, and utilisation below."""
    width, top, low, left = 960, 250, 110, 44
    each = 600
    need = load.reshape(-1, each).mean(axis=1) / RATE
    size = run.size.reshape(-1, each).mean(axis=1)
    used = run.busy.reshape(-1, each).sum(axis=1) / run.size.reshape(-1, each).sum(axis=1)
    high = max(fixed, size.max()) * 1.08

    def path(values: np.ndarray, ceiling: float, height: float, base: float) -> str:
        points = (
            f"{left + i / (len(values) - 1) * (width - left - 8):.1f},{base - v / ceiling * height:.1f}"
            for i, v in enumerate(values)
        )
        return " ".join(points)

    base, floor = top + 24, top + low + 64
    days = "".join(
        f'<text x="{left + (d + 0.5) / 7 * (width - left - 8):.0f}" y="{base + 16}" text-anchor="middle">{name}</text>'
        for d, name in enumerate(("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"))
    )
    at = base - fixed / high * top
    goal = floor - POLICY.target * low
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {floor + 16}" font-family="sans-serif" '
        'font-size="12" fill="#333"><rect width="100%" height="100%" fill="#fff"/>'
        f'<text x="{left}" y="16">Workers over a week: <tspan fill="#1668a8">running</tspan>, '
        '<tspan fill="#c2410c">needed if always busy</tspan>, fixed provisioning (dashed)</text>'
        f'<line x1="{left}" x2="{width - 8}" y1="{at:.1f}" y2="{at:.1f}" stroke="#888" stroke-dasharray="6 4"/>'
        f'<text x="{left - 6}" y="{at + 4:.1f}" text-anchor="end">{fixed}</text>'
        f'<text x="{left - 6}" y="{base + 4}" text-anchor="end">0</text>'
        f'<polyline points="{path(size, high, top - 10, base)}" fill="none" stroke="#1668a8" stroke-width="1.6"/>'
        f'<polyline points="{path(need, high, top - 10, base)}" fill="none" stroke="#c2410c" stroke-width="1"/>'
        f'{days}<text x="{left}" y="{base + 40}">Utilisation, target {POLICY.target:.0%} (dashed)</text>'
        f'<line x1="{left}" x2="{width - 8}" y1="{goal}" y2="{goal}" stroke="#888" stroke-dasharray="6 4"/>'
        f'<text x="{left - 6}" y="{goal + 4}" text-anchor="end">{POLICY.target:.0%}</text>'
        f'<text x="{left - 6}" y="{floor + 4}" text-anchor="end">0</text>'
        f'<polyline points="{path(used, 1.0, low, floor)}" fill="none" stroke="#1668a8" stroke-width="1.2"/></svg>\n'
    )


def main() -> None:
    """Print the figures of a few seeds as JSON lines; with ``--out`` draw the first seed's chart there."""
    parser = argparse.ArgumentParser(description="Simulate a week of scaling.")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=None, help="folder for scaling.svg")
    given = parser.parse_args()
    for seed in range(given.seeds):
        found, load, run, fixed = figures(seed)
        print(json.dumps(found))
        if seed == 0 and given.out is not None:
            (given.out / "scaling.svg").write_text(chart(load, run, fixed))


if __name__ == "__main__":
    main()
