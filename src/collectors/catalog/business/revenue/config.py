"""How revenue is measured."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from collectors.analytics.money import EXPONENTS, STRIPE_EXPONENTS
from collectors.config.collector import CollectorConfig, Model

_PAIR = re.compile(r"^[A-Z]{3}/[A-Z]{3}$")


def _exact(value: Any) -> Any:
    if isinstance(value, float):
        raise ValueError("write the rate in quotes, such as '1.1735': a binary fraction is not exact")  # noqa: TRY004  # pydantic reports ValueErrors
    return value


Rate = Annotated[Decimal, BeforeValidator(_exact), Field(gt=0)]


class ExchangeRates(Model):
    """Rates by which other currencies are converted into the reporting currency."""

    source: str = ""
    """Whose rates they are, such as 'ECB reference rates'; reports name it."""

    rates: Mapping[str, Mapping[date, Rate]] = Field(default_factory=dict)
    """By pair, such as EUR/USD, and day: what one of the first currency costs in the second, in quotes."""

    pivot: str = ""
    """Currency by way of which pairs that are not declared are converted, such as EUR for the ECB's rates."""

    valid_days: int = Field(default=7, ge=0, le=366)
    """Days for which a rate holds while there is no newer one."""

    @field_validator("rates")
    @classmethod
    def _pairs(cls, rates: Mapping[str, Mapping[date, Decimal]]) -> Mapping[str, Mapping[date, Decimal]]:
        for pair in rates:
            if not _PAIR.match(pair) or any(code not in EXPONENTS for code in pair.split("/")):
                raise ValueError(f"{pair[:16]!r} is not a pair of currencies of ISO 4217 such as EUR/USD")
        return rates


class RevenueMetricsConfig(CollectorConfig):
    """How revenue is measured."""

    interval_seconds: float = Field(default=300.0, gt=0, le=86_400)
    """Seconds between the starts of two runs."""

    months: int = Field(default=12, ge=12, le=60)
    """Calendar months reported before the running one."""

    reporting_currency: str = Field(default="", pattern=r"^([A-Z]{3})?$")
    """Currency that all others are converted into; the tenant's own if empty."""

    convention: Literal["exact", "chartmogul", "stripe", "paddle", "segmentio"] = "exact"
    """Whose way of turning prices into MRR: what a week counts, whether discounts do, and when a customer is lost."""

    discounts: Literal["deducted", "ignored"] | None = None
    """Whether discounts are taken off MRR; as the convention has it if not set."""

    ended: Literal["effective", "announced"] | None = None
    """When a cancellation counts; as the convention has it if not set."""

    exchange: ExchangeRates = ExchangeRates()
    """Declared exchange rates."""

    minor_units: Mapping[str, Literal["iso", "stripe"] | Mapping[str, int]] = Field(default_factory=dict)
    """By source of events, where its amounts have other decimals than those of ISO 4217: 'stripe', or by currency."""

    @field_validator("minor_units")
    @classmethod
    def _decimals(cls, units: Mapping[str, str | Mapping[str, int]]) -> Mapping[str, str | Mapping[str, int]]:
        for by_currency in units.values():
            if not isinstance(by_currency, str) and not all(
                code in EXPONENTS and 0 <= digits <= 4 for code, digits in by_currency.items()
            ):
                raise ValueError("give for currencies of ISO 4217 how many decimals their amounts have, 0 to 4")
        return units

    @property
    def decimals(self) -> dict[tuple[str, str], int]:
        """Digits that an amount lacks (or, if negative, has too many) for ISO 4217, by source and currency."""
        known = {"iso": {}, "stripe": STRIPE_EXPONENTS}
        tables = {s: known[units] if isinstance(units, str) else units for s, units in self.minor_units.items()}
        lacking = {(s, code): EXPONENTS[code] - n for s, table in tables.items() for code, n in table.items()}
        return {key: digits for key, digits in lacking.items() if digits}
