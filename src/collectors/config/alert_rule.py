"""What a tenant or an operator writes to be alerted: a threshold on a metric."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from collectors.config.collector import Model
from collectors.config.matchers import Matchers
from collectors.model.metric import Severity

NAME = r"^[a-z][a-z0-9_-]{0,62}$"
"""Names that users give: of rules, handlers, maintenance windows."""

LabelName = Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_.]*$")]


class AlertRule(Model):
    """A threshold on a metric, and what keeps it from crying wolf."""

    name: str = Field(pattern=NAME)
    """Name of the rule, unique; alerts carry it as the label ``rule``."""

    metric: str = Field(min_length=1, max_length=200)
    """A declared metric, or an alias such as ``cpu_usage``; the limits are in its unit."""

    above: float | None = Field(default=None, allow_inf_nan=False)
    """Alert while the value is above this."""

    below: float | None = Field(default=None, allow_inf_nan=False)
    """Alert while the value is below this; exactly one of above and below is given."""

    clear: float | None = Field(default=None, allow_inf_nan=False)
    """Hysteresis: once firing, it goes on until the value reaches this level. The limit itself if not set."""

    for_seconds: float = Field(default=0.0, ge=0, le=604_800)
    """The value must be over the limit for this long before the alert fires."""

    missing: Literal["keep", "ok", "alert"] = "keep"
    """What an undefined or absent value means: nothing changes, all is well, or an alert by itself."""

    missing_after_seconds: float = Field(default=300.0, gt=0, le=604_800)
    """A series without a sample for this long is absent."""

    flapping_fires: int = Field(default=3, ge=2, le=100)
    """An alert that fires this often within ``flapping_seconds`` is flapping: it then ends only once it was calm."""

    flapping_seconds: float = Field(default=1800.0, ge=0, le=604_800)
    """The time looked at for flapping, and how long a flapping alert must be calm to end; 0 never holds one."""

    severity: Severity = Severity.WARNING
    """How soon a person should look."""

    labels: Mapping[LabelName, str] = Field(default_factory=dict)
    """Labels added to the alert, for routing."""

    match: Matchers = ()
    """Only series whose labels fulfil these conditions, such as ``host=~web.*``."""

    @model_validator(mode="after")
    def _limits(self) -> Self:
        if (self.above is None) == (self.below is None):
            raise ValueError("give either above or below")
        limit = self.above if self.above is not None else self.below
        if self.clear is not None and limit is not None:
            wrong = self.clear > limit if self.below is None else self.clear < limit
            if wrong:
                side = "at or below" if self.below is None else "at or above"
                raise ValueError(f"clear must be {side} the limit, or the alert would end while it is crossed")
        return self
