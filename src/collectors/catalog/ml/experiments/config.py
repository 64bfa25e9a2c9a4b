"""How experiments are declared, and what holds for one that nobody declared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from collectors.config.collector import CollectorConfig, Model

Name = Annotated[str, Field(min_length=1, max_length=256)]
Quantile = Annotated[float, Field(gt=0.5, lt=1)]


class ExperimentMetric(Model):
    """One metric of an experiment."""

    kind: Literal["mean", "proportion", "ratio"] = "mean"
    """mean: the total of a unit's outcomes, none being zero, averaged over exposed units. proportion: the share of
    exposed units whose total is above zero. ratio: total over total of ``denominator``, units being clusters."""

    source: str = Field(default="", max_length=256)
    """Metric of the outcome events that it is made from; its own name if empty."""

    denominator: str = Field(default="", max_length=256)
    """Metric of the outcome events that a ratio divides by; their number if empty."""

    role: Literal["success", "guardrail", "exploratory"] = "success"
    """success: decides, corrected for multiplicity. guardrail: must not get worse by ``margin``. exploratory: shown
    with the false discovery rate controlled, decides nothing."""

    direction: Literal["increase", "decrease"] = "increase"
    """Which way is better."""

    margin: float = Field(default=0.01, gt=0, lt=1)
    """How much worse than control, relative to it, a guardrail may be."""

    @model_validator(mode="after")
    def _only_ratios_divide(self) -> Self:
        if self.denominator and self.kind != "ratio":
            raise ValueError("denominator is only for metrics of kind 'ratio'; set kind = 'ratio' or leave it out")
        return self


class ExperimentConfig(Model):
    """How one experiment was designed."""

    control: str = Field(default="", max_length=256)
    """The variant that others are compared with; if empty, ``control`` where there is one, else the first by name."""

    weights: Mapping[Name, Annotated[float, Field(ge=0)]] = Field(default_factory=dict, max_length=50)
    """Share of units that each variant was meant to get, in any unit; equal among the variants seen if empty."""

    metrics: Mapping[Name, ExperimentMetric] = Field(default_factory=dict, max_length=100)
    """Metrics by name; if empty, every outcome metric of its units as an exploratory ratio per outcome."""

    design: Literal["always_valid", "group_sequential", "fixed"] = "always_valid"
    """always_valid: may be read at any time. group_sequential: one look a UTC day until ``max_units``. fixed: nothing
    is concluded before ``max_units``."""

    max_units: int | None = Field(default=None, ge=2)
    """Planned number of units of all variants together."""

    spending: Literal["quadratic", "obrien_fleming", "pocock"] = "quadratic"
    """How a group-sequential design spends its level."""

    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    """Level of two-sided tests, and one minus the coverage of intervals."""

    correction: Literal["bonferroni", "holm", "hommel"] = "holm"
    """How success metrics and variants are corrected for multiplicity; group-sequential designs split the level."""

    multiple_exposures: Literal["exclude", "first"] = "exclude"
    """Whether a unit seen in several variants is left out, or counts in the one it saw first."""

    @model_validator(mode="after")
    def _planned_designs_have_a_size(self) -> Self:
        if self.design != "always_valid" and self.max_units is None:
            raise ValueError(f"design {self.design!r} needs max_units, the planned number of units of all variants")
        if self.weights and sum(weight > 0 for weight in self.weights.values()) < 2:
            raise ValueError("weights name at least two variants with a share above 0")
        return self


class ExperimentTrackingConfig(CollectorConfig):
    """How experiments are tracked."""

    interval_seconds: float = Field(default=300.0, gt=0, le=86_400)
    """Seconds between the starts of two runs."""

    experiments: Mapping[Name, ExperimentConfig] = Field(default_factory=dict)
    """Experiments by name; any other that has exposures runs by the defaults of all settings."""

    lookback_days: int = Field(default=60, ge=1, le=400)
    """How far back exposures are read: longer than the longest experiment runs."""

    covariate_days: int = Field(default=14, ge=0, le=90)
    """Days before a unit's first exposure whose outcomes reduce variance (CUPED); 0 for none."""

    outcome_days: int | None = Field(default=None, ge=1, le=400)
    """Days after a unit's first exposure in which its outcomes count; any later one too if not set."""

    winsorise: Mapping[Name, Quantile] = Field(default_factory=dict)
    """Outcome metric to the quantile at which totals of units that have any are capped, all variants together."""

    max_experiments: int = Field(default=1000, ge=1, le=10_000)
    """Most experiments reported; declared ones come first, then those with the most units."""

    max_variants: int = Field(default=10, ge=2, le=50)
    """Most variants of an experiment reported, besides control."""

    max_metrics: int = Field(default=20, ge=1, le=100)
    """Most metrics of an undeclared experiment reported."""


UNDECLARED = ExperimentConfig()
UNDECLARED_METRIC = ExperimentMetric(kind="ratio", role="exploratory")
