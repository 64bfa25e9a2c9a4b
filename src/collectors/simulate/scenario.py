"""What happens on the platform that somebody should detect or measure, with the parameters that are the truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

import numpy as np

from collectors.simulate.sampling import SECOND_US, Floats, Ints


class AttackKind(StrEnum):
    """How credentials are attacked."""

    BRUTE_FORCE = "brute_force"  # many passwords for a few existing accounts
    CREDENTIAL_STUFFING = "credential_stuffing"  # leaked pairs tried on many names, most of them unknown here


@dataclass(frozen=True, slots=True)
class Attack:
    """An attack on one tenant's log-ins, in seconds after the world's start; ``every_s`` repeats it for ever.

    During an episode, ``intensity`` of the tenant's auth events are the attacker's: ``sources`` addresses try
    ``targets`` names, and each try gets in with probability ``success``.
    """

    kind: AttackKind
    tenant: str
    first_s: float
    duration_s: float
    every_s: float | None = None
    intensity: float = 0.3
    sources: int = 1
    targets: int = 1
    success: float = 0.0

    def interval_us(self, episode: int, start_us: int) -> tuple[int, int]:
        """Return when an episode, counted from 0, begins and ends; ``start_us`` is the world's start."""
        begin = start_us + round((self.first_s + episode * (self.every_s or 0.0)) * SECOND_US)
        return begin, begin + round(self.duration_s * SECOND_US)

    def episodes(self, times: Ints, start_us: int) -> Ints:
        """Return the number of the episode each time falls into, -1 outside any."""
        since = times - self.interval_us(0, start_us)[0]
        number = np.zeros_like(since)
        if self.every_s is not None:
            period = round(self.every_s * SECOND_US)
            number = since // period
            since = since - number * period
        inside = (number >= 0) & (since >= 0) & (since < round(self.duration_s * SECOND_US))
        return np.where(inside, number, -1)


@dataclass(frozen=True, slots=True)
class Experiment:
    """A test of two variants on one metric, whose true effect is known.

    A unit's outcomes are its own mean (``mean`` plus ``unit_sd`` times a normal number, drawn once) plus noise, and
    ``effect`` is added under treatment. A ``binary`` metric is 1 with probability ``mean`` (plus ``effect``), else 0.
    ``planned`` is the share of treatment that the experimenters believe in, ``actual`` the one they get.
    """

    name: str
    metric: str
    mean: float
    effect: float
    unit_sd: float = 0.0
    noise_sd: float = 0.0
    binary: bool = False
    planned: float = 0.5
    actual: float = 0.5


VARIANTS = ("control", "treatment")


@dataclass(frozen=True, slots=True)
class Model:
    """A logistic model in production, whose calibration and drift are known.

    With standard normal features x, the label is 1 with probability p = 1/(1+exp(-(intercept + weights.x))), and the
    model says 1/(1+exp(-(calibration_intercept + calibration_slope * logit(p)))): 0 and 1 are perfect calibration, a
    slope above 1 is overconfidence. From ``drift_start_s`` seconds after the world's start on, ``drift_feature`` is
    shifted by ``drift_shift`` standard deviations, and ``concept_shift`` is added to logit(p) but not to the score.
    """

    name: str
    version: str
    intercept: float
    features: tuple[str, ...]
    weights: tuple[float, ...]
    calibration_intercept: float = 0.0
    calibration_slope: float = 1.0
    drift_start_s: float | None = None
    drift_feature: int = 0
    drift_shift: float = 0.0
    concept_shift: float = 0.0

    def drift_us(self, start_us: int) -> int | None:
        """Return when drift begins; ``start_us`` is the world's start."""
        return None if self.drift_start_s is None else start_us + round(self.drift_start_s * SECOND_US)

    def score(self, logit: Floats) -> Floats:
        """Return what the model says where the truth would be ``logit``."""
        return sigmoid(self.calibration_intercept + self.calibration_slope * logit)


def sigmoid(logit: Floats) -> Floats:
    """Return the probability of a logit."""
    return np.asarray(1.0 / (1.0 + np.exp(-logit)), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class BetaGeometric:
    """Churn with heterogeneity: at each renewal a customer leaves with a probability of its own, Beta(alpha, beta).

    Fader & Hardie (2007), "How to project customer retention", Journal of Interactive Marketing 21.
    """

    alpha: float
    beta: float


DEFAULT_ATTACKS = (
    Attack(AttackKind.BRUTE_FORCE, "nordic", first_s=20, duration_s=30, every_s=300, intensity=0.35, targets=2),
    Attack(
        AttackKind.CREDENTIAL_STUFFING,
        "americas",
        first_s=90,
        duration_s=60,
        every_s=600,
        intensity=0.5,
        sources=4,
        targets=2000,
        success=0.01,
    ),
)

DEFAULT_EXPERIMENTS = (
    Experiment("autoplay", "minutes", mean=42.0, effect=1.5, unit_sd=12.0, noise_sd=8.0),
    Experiment("paywall_copy", "converted", mean=0.12, effect=0.0, binary=True),
    Experiment("hifi_upsell", "plays", mean=18.0, effect=-0.4, unit_sd=6.0, noise_sd=4.0, actual=0.53),
)

_FEATURES = ("tenure_days", "plays_7d", "skips_7d", "days_since_play", "playlists", "support_tickets")

DEFAULT_MODELS = (
    Model(
        "churn",
        "3.2",
        intercept=-2.0,
        features=_FEATURES,
        weights=(-0.7, -0.5, 0.3, 0.8, -0.2, 0.4),
        drift_start_s=120.0,
        drift_feature=3,
        drift_shift=0.8,
    ),
    Model(
        "skip",
        "7.0",
        intercept=-0.8,
        features=("position", "popularity", "tempo_distance", "energy_distance", "artist_affinity", "hour"),
        weights=(0.4, -0.3, 0.6, 0.5, -0.9, 0.1),
        calibration_intercept=0.3,
        calibration_slope=1.6,
    ),
)

DEFAULT_CHURN: Mapping[str, BetaGeometric] = MappingProxyType(
    {"month": BetaGeometric(0.67, 9.0), "year": BetaGeometric(1.1, 3.4)}
)
