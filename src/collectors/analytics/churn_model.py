"""Who is about to leave: a model learnt on one snapshot, calibrated on a later one and judged on a later one still.

The outcomes of a snapshot end where the next one begins, so nothing that is judged was known when it was learnt. A
random split would mix the periods and flatter the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from collectors.analytics.classification.calibration import Isotonic, Platt, isotonic, platt
from collectors.analytics.classification.logistic import Logistic, constant_columns, logistic
from collectors.analytics.classification.quality import auc, brier, brier_skill, lift, log_loss, reliability
from collectors.analytics.refusal import Reason, Refusal

Floats: TypeAlias = npt.NDArray[np.float64]
Calibration: TypeAlias = Literal["auto", "platt", "isotonic"]

ENOUGH_FOR_ISOTONIC = 1000
"""Cases below which a curve with many steps would follow chance: Niculescu-Mizil & Caruana (2005), ICML."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Features (n, p) of those at risk at a time, and whether each left soon after (n,)."""

    features: Floats
    left: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Quality:
    """How good the calibrated probabilities were on the last snapshot; None where undefined."""

    brier: float | None
    brier_skill: float | None
    log_loss: float | None
    calibration_error: float | None
    auc: float | None
    top_decile_lift: float | None


@dataclass(frozen=True, slots=True)
class ChurnModel:
    """A calibrated model; ``varied`` (p,) says which features varied when it was learnt, the others are unused."""

    logistic: Logistic
    calibration: Platt | Isotonic
    varied: npt.NDArray[np.bool_]
    quality: Quality

    def probability(self, features: Floats) -> Floats:
        """Return the calibrated probability to leave, shape (n,), of ``features`` (n, p)."""
        return self.calibration.probability(self.logistic.log_odds(features[:, self.varied]))


def learn(
    train: Snapshot,
    calibrate: Snapshot,
    test: Snapshot,
    names: Sequence[str],
    *,
    penalty: float = 1.0,
    calibration: Calibration = "auto",
    least_leavers: int = 50,
) -> ChurnModel | Refusal:
    """Learn, calibrate and judge on three snapshots in the order of time.

    Refuses if on any of them fewer than ``least_leavers`` left, or stayed: a model of so few is made of chance.
    """
    for snapshot, use in ((train, "learn from"), (calibrate, "calibrate on"), (test, "judge by")):
        left = int(snapshot.left.sum())
        if left < least_leavers:
            return Refusal(Reason.TOO_FEW, f"{left} who left are too few to {use}; {least_leavers} are needed")
        if len(snapshot.left) - left < least_leavers:
            return Refusal(Reason.TOO_FEW, f"too few stayed to {use}; {least_leavers} are needed")
    varied = ~constant_columns(train.features)
    model = logistic(
        train.features[:, varied],
        train.left,
        names=[name for name, varies in zip(names, varied, strict=True) if varies],
        penalty=penalty,
    )
    if isinstance(model, Refusal):
        return model
    scores = model.log_odds(calibrate.features[:, varied])
    by_steps = calibration == "isotonic" or (calibration == "auto" and len(scores) >= ENOUGH_FOR_ISOTONIC)
    curve = isotonic(scores, calibrate.left) if by_steps else platt(scores, calibrate.left)
    if isinstance(curve, Refusal):
        return curve
    raw = model.log_odds(test.features[:, varied])
    probability = curve.probability(raw)
    return ChurnModel(model, curve, varied, _judge(raw, probability, test.left))


def _judge(scores: Floats, probability: Floats, left: npt.NDArray[np.bool_]) -> Quality:
    return Quality(
        brier=brier(probability, left),
        brier_skill=brier_skill(probability, left),
        log_loss=log_loss(probability, left),
        calibration_error=reliability(probability, left).error,
        auc=auc(scores, left),  # a calibration with steps makes ties; the order is the model's
        top_decile_lift=lift(scores, left),
    )
