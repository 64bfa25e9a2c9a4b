"""Money as whole minor units: how many decimals a currency has, where rounding happens, and what a rate turns it into.

Definitions
    * An amount is an integer in the minor unit of ISO 4217 (cents; yen have none, dinars three decimals). A source
      that writes amounts otherwise, as Stripe does for a few currencies (https://docs.stripe.com/currencies), needs its
      own exponents; ``rescale`` brings its amounts to those of ISO 4217.
    * Rounding is to the nearest minor unit, halves to even, once for each figure that is reported. Between reading an
      amount and reporting a figure values are exact integers or fractions.
    * A rate is the price of one major unit of the base currency in the quote currency: EUR/USD 1.10 means that 1 EUR
      costs 1.10 USD. The rate of a day is the latest one quoted on it or before.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Ints: TypeAlias = npt.NDArray[np.int64]
Codes: TypeAlias = npt.NDArray[np.integer]
"""Small integers; few bits make them quick to move."""

_BY_EXPONENT = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: (
        "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW "
        "CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF "
        "IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK "
        "MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP "
        "SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XCD XCG YER "
        "ZAR ZMW ZWG ANG BGN CUC HRK SLL ZWL"  # the last six were withdrawn, but past events have them
    ),
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
EXPONENTS: Mapping[str, int] = MappingProxyType(
    {code: digits for digits, codes in _BY_EXPONENT.items() for code in codes.split()}
)
"""Decimals of the minor unit by currency: ISO 4217, list one; codes without a minor unit (gold, test) are not in it."""

STRIPE_EXPONENTS: Mapping[str, int] = MappingProxyType({"ISK": 2, "MGA": 0, "UGX": 2})
"""Where amounts of Stripe's API have other decimals than ISO 4217's."""


@dataclass(frozen=True, slots=True)
class Undefined:
    """In place of a value that there is none of: why."""

    reason: str


def major(amount: int, currency: str) -> Decimal:
    """Return minor units as a decimal number of the currency; KeyError for a code that ISO 4217 gives no decimals."""
    return Decimal(amount).scaleb(-EXPONENTS[currency])


def share(amounts: Ints, part: Ints, total: Ints) -> Ints:
    """Return int64 ``amounts * part / total``, rounded to the nearest whole, halves to even; no amount is too large.

    ValueError unless 0 <= part <= total, and 0 < total < 2**31.
    """
    if ((part < 0) | (part > total) | (total <= 0) | (total >= 2**31)).any():
        raise ValueError("a part must lie between nothing and the total, which must be positive and below 2**31")
    whole, rest = np.divmod(amounts, total)
    more, rest = np.divmod(rest * part, total)
    low = whole * part + more
    up = (rest > total - rest) | ((rest == total - rest) & (low & 1 == 1))
    return np.asarray(low + up, dtype=np.int64)


def rescale(amounts: Ints, decimals: Codes) -> Ints:
    """Return int64 amounts with ``decimals`` digits more (or, if negative, fewer) after the point, halves to even."""
    if not decimals.any():
        return amounts
    power = np.int64(10) ** np.abs(decimals.astype(np.int64))
    return np.where(
        decimals >= 0, amounts * np.where(decimals >= 0, power, 1), share(amounts, np.ones_like(power), power)
    )


def in_whole(parts: Sequence[Fraction]) -> list[int]:
    """Round parts to whole numbers that add up to the rounded sum of all.

    Each is the difference of two rounded running totals, so it is less than one away from its exact value. The first
    is the first part itself, rounded.
    """
    totals = [0]
    running = Fraction(0)
    for part in parts:
        running += part
        totals.append(round(running))  # a Fraction rounds halves to even
    return [after - before for before, after in pairwise(totals)]


@dataclass(frozen=True)
class Rates:
    """Declared exchange rates of one source.

    ``quotes`` has for each pair, such as EUR/USD, the rates by day. A pair is also known from its reverse, and by
    way of the ``pivot`` currency if one is named (EUR for the ECB's reference rates). A quote is good for
    ``valid_days`` after its own day, which spans weekends and holidays.
    """

    source: str
    quotes: Mapping[str, Mapping[date, Decimal]] = field(default_factory=dict)
    pivot: str = ""
    valid_days: int = 7

    def __post_init__(self) -> None:
        ordered = {pair: sorted(by_day.items()) for pair, by_day in self.quotes.items()}
        object.__setattr__(self, "_days", {pair: [day for day, _ in rows] for pair, rows in ordered.items()})
        object.__setattr__(self, "_prices", {pair: [Fraction(p) for _, p in rows] for pair, rows in ordered.items()})

    _days: Mapping[str, list[date]] = field(init=False, repr=False, compare=False)
    _prices: Mapping[str, list[Fraction]] = field(init=False, repr=False, compare=False)

    def factor(self, base: str, quote: str, day: date) -> Fraction | Undefined:
        """Return how many minor units of ``quote`` one minor unit of ``base`` is worth on ``day``, exactly."""
        if base == quote:
            return Fraction(1)
        for currency in (base, quote):
            if currency not in EXPONENTS:
                return Undefined(f"{currency} has no minor unit in ISO 4217")
        price = self._price(base, quote, day)
        if price is None and self.pivot not in ("", base, quote):
            legs = self._price(base, self.pivot, day), self._price(self.pivot, quote, day)
            price = legs[0] * legs[1] if legs[0] is not None and legs[1] is not None else None
        if price is None:
            return Undefined(f"no rate of {base}/{quote} for {day} is declared ({self.source or 'no source of rates'})")
        return price * Fraction(10) ** (EXPONENTS[quote] - EXPONENTS[base])

    def mean_factor(self, base: str, quote: str, days: Sequence[date]) -> Fraction | Undefined:
        """Return the plain mean of the factors of one or more days: the average rate that IAS 21 allows for income."""
        if base == quote:
            return Fraction(1)
        found: list[Fraction] = []
        for day in days:
            factor = self.factor(base, quote, day)
            if isinstance(factor, Undefined):
                return factor
            found.append(factor)
        return sum(found, Fraction(0)) / len(found)

    def _price(self, base: str, quote: str, day: date) -> Fraction | None:
        direct = self._quoted(f"{base}/{quote}", day)
        if direct is not None:
            return direct
        reverse = self._quoted(f"{quote}/{base}", day)
        return None if reverse is None else 1 / reverse

    def _quoted(self, pair: str, day: date) -> Fraction | None:
        days = self._days.get(pair, [])
        at = bisect_right(days, day) - 1
        if at < 0 or day - days[at] > timedelta(days=self.valid_days):
            return None
        return self._prices[pair][at]
