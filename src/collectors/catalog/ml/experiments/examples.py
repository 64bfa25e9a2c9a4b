"""Situations on which the collector of experiments is tried out."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any

from collectors.contract.example import Example

_DAY = timedelta(days=1)

Row = dict[str, Any]


def examples() -> Iterable[Example]:
    """Return one experiment of each design with one that nobody declared, and two whose tests fit on paper."""
    yield Example("each_design", _DESIGNS, events=_listeners())
    yield Example("on_paper", _ON_PAPER, events=_buyers())


_DESIGNS: dict[str, Any] = {
    "max_experiments": 100,
    "winsorise": {"minutes": 0.99},
    "experiments": {
        # More minutes, but more stalls than allowed.
        "autoplay": {
            "metrics": {
                "minutes": {},
                "minutes_a_session": {"kind": "ratio", "source": "minutes", "denominator": "sessions"},
                "stalls": {"role": "guardrail", "direction": "decrease", "margin": 0.05},
            },
        },
        # Nothing changes.
        "colours": {
            "design": "group_sequential", "max_units": 400, "weights": {"control": 1, "blue": 1, "red": 2},
            "metrics": {"minutes": {}, "sessions": {"role": "exploratory"}},
        },
        # Read before it is over.
        "price": {"design": "fixed", "max_units": 500, "metrics": {"minutes": {}}},
        # Half of those who were to see the treatment were lost.
        "lossy": {"weights": {"control": 1, "treatment": 1}, "metrics": {"minutes": {}}},
    },
}  # fmt: skip

_ON_PAPER: dict[str, Any] = {
    "max_experiments": 100,
    "experiments": {
        "button": {"design": "fixed", "max_units": 200, "metrics": {"bought": {"kind": "proportion"}}},
        "banner": {"design": "fixed", "max_units": 8, "metrics": {"minutes": {}}, "multiple_exposures": "first"},
        "not_begun": {"weights": {"control": 1, "treatment": 1}, "metrics": {"minutes": {}}},
    },
}


def _listeners() -> dict[str, list[Row]]:
    """Return 240 units in five experiments at once, with what they did before and since."""
    chance = random.Random(2)  # noqa: S311  # an example is no secret
    exposures: list[Row] = []
    outcomes: list[Row] = []
    for number in range(240):
        unit, since, habit = f"unit-{number}", 1 + 13 * chance.random(), chance.uniform(20, 40)
        autoplay = ("control", "on")[number % 2]
        shown = {
            "autoplay": autoplay,
            "colours": ("control", "blue", "red", "red")[number // 2 % 4],
            "price": ("control", "high")[number // 8 % 2],
            "undeclared": ("a", "b")[number // 16 % 2],
        }
        if number % 8 < 6:
            shown["lossy"] = "control" if number % 8 < 4 else "treatment"
        exposures += [_exposure(since, unit, name, variant) for name, variant in shown.items()]
        if number % 40 == 0:
            exposures.append(_exposure(0.5, unit, "autoplay", "on" if autoplay == "control" else "control"))
        treated = autoplay == "on"
        before, after = since + chance.uniform(0.1, 7), since * chance.uniform(0.6, 1)
        outcomes += _outcomes(chance, unit, before, habit, stalls=1.0)
        outcomes += _outcomes(chance, unit, after, habit + 8 * treated, stalls=1.0 + 0.5 * treated)
    return {"exposure": exposures, "outcome": outcomes}


def _outcomes(chance: random.Random, unit: str, ago: float, minutes: float, *, stalls: float) -> Iterator[Row]:
    yield _outcome(ago, unit, "minutes", round(minutes + chance.uniform(-8, 8), 1))
    yield _outcome(ago, unit, "sessions", chance.randint(1, 3))
    yield _outcome(ago, unit, "stalls", round(stalls * chance.uniform(0.8, 1.2), 2))


def _buyers() -> dict[str, list[Row]]:
    """Return a hundred units a variant of whom 30 and 45 buy, and four a variant with 10 to 16 minutes."""
    exposures: list[Row] = []
    outcomes: list[Row] = []
    for variant, buyers in (("control", 30), ("treatment", 45)):
        for number in range(100):
            unit = f"{variant}-{number}"
            exposures.append(_exposure(5, unit, "button", variant))
            if number < buyers:
                outcomes.append(_outcome(4, unit, "bought", 1))
    for variant, minutes in (("control", (10, 11, 12, 13)), ("treatment", (13, 14, 15, 16))):
        for number, heard in enumerate(minutes):
            unit = f"banner-{variant}-{number}"
            exposures.append(_exposure(5, unit, "banner", variant))
            outcomes.append(_outcome(4, unit, "minutes", heard))
    exposures.append(_exposure(4.5, "banner-control-0", "banner", "treatment"))
    return {"exposure": exposures, "outcome": outcomes}


def _exposure(ago: float, unit: str, experiment: str, variant: str) -> Row:
    return {"event_time": ago * _DAY, "experiment": experiment, "variant": variant, "unit_id": unit}


def _outcome(ago: float, unit: str, metric: str, value: float) -> Row:
    return {"event_time": ago * _DAY, "unit_id": unit, "metric": metric, "value": value}
