"""Probabilities of a yes-or-no outcome: a model, its calibration, and how good it is."""

from collectors.analytics.classification.calibration import Isotonic, Platt, isotonic, platt
from collectors.analytics.classification.logistic import Logistic, logistic
from collectors.analytics.classification.quality import (
    Reliability,
    auc,
    brier,
    brier_skill,
    censored_brier,
    lift,
    log_loss,
    reliability,
)

__all__ = [
    "Isotonic",
    "Logistic",
    "Platt",
    "Reliability",
    "auc",
    "brier",
    "brier_skill",
    "censored_brier",
    "isotonic",
    "lift",
    "log_loss",
    "logistic",
    "platt",
    "reliability",
]
