"""What a model answers instead of numbers that would mean nothing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why an estimate does not exist, stable and safe to branch on."""

    NO_SUBJECTS = "no_subjects"
    NO_EVENTS = "no_events"
    TOO_FEW = "too_few"
    ONE_CLASS = "one_class"
    CONSTANT = "constant"
    COLLINEAR = "collinear"
    SEPARATION = "separation"
    NOT_CONVERGED = "not_converged"
    NOT_IDENTIFIED = "not_identified"
    ASSUMPTION = "assumption"
    EXTRAPOLATION = "extrapolation"
    UNDEFINED = "undefined"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Says why an estimate does not exist.

    ``detail`` is a clause a person can read, ``of`` the covariate or parameter to blame, where there is one.
    """

    reason: Reason
    detail: str
    of: str = ""

    def __str__(self) -> str:
        return self.detail
