"""Money in minor units against decimals and fractions."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.analytics.money import (
    EXPONENTS,
    STRIPE_EXPONENTS,
    Rates,
    Undefined,
    in_whole,
    major,
    rescale,
    share,
)

DAY = date(2026, 3, 31)
INT64 = st.integers(-(2**63) + 1, 2**63 - 1)


@pytest.mark.parametrize(
    ("exponent", "codes"),
    [
        (0, "JPY KRW ISK UGX XOF XAF VND CLP PYG RWF"),
        (2, "EUR USD GBP SEK NOK DKK BRL MXN INR HUF TWD MGA MRU"),
        (3, "KWD BHD TND JOD OMR IQD LYD"),
        (4, "CLF UYW"),
    ],
)
def test_currencies_have_the_decimals_of_iso_4217(exponent, codes):
    assert {EXPONENTS[code] for code in codes.split()} == {exponent}


def test_codes_are_three_capital_letters_and_gold_is_none_of_them():
    assert all(len(code) == 3 and code.isalpha() and code.isupper() for code in EXPONENTS)
    assert not {"XAU", "XDR", "XTS", "XXX"} & set(EXPONENTS)
    assert set(STRIPE_EXPONENTS) < set(EXPONENTS)


@pytest.mark.parametrize(
    ("currency", "text"), [("JPY", "1234567"), ("EUR", "12345.67"), ("KWD", "1234.567"), ("CLF", "123.4567")]
)
def test_an_amount_in_the_major_unit_has_the_currencys_decimals(currency, text):
    assert str(major(1234567, currency)) == text


def test_a_currency_without_minor_unit_has_no_amount_in_the_major_one():
    with pytest.raises(KeyError):
        major(1, "XAU")


@given(INT64, st.integers(1, 2**31 - 1), st.data())
def test_a_share_is_the_exact_one_rounded_to_the_nearest_half_to_even(amount, total, data):
    part = data.draw(st.integers(0, total))
    found = share(np.array([amount]), np.array([part]), np.array([total]))
    assert found.tolist() == [round(Fraction(amount * part, total))]


@pytest.mark.parametrize(("part", "total"), [(-1, 5), (6, 5), (0, 0), (1, 2**31)])
def test_a_share_beyond_the_total_is_refused(part, total):
    with pytest.raises(ValueError, match="between nothing and the total"):
        share(np.array([100]), np.array([part]), np.array([total]))


@given(st.lists(st.tuples(st.integers(-(10**12), 10**12), st.integers(-4, 4)), max_size=20))
def test_rescaled_amounts_are_those_of_decimals(rows):
    amounts = np.array([amount for amount, _ in rows], dtype=np.int64)
    digits = np.array([digits for _, digits in rows], dtype=np.int8)
    expected = [int(Decimal(a).scaleb(d).to_integral_value(ROUND_HALF_EVEN)) for a, d in rows]
    assert rescale(amounts, digits).tolist() == expected


@given(st.lists(st.fractions(max_denominator=10**6), max_size=20))
def test_whole_parts_add_up_to_the_rounded_sum_and_are_less_than_one_away(parts):
    whole = in_whole(parts)
    assert sum(whole) == round(sum(parts, Fraction(0)))
    assert all(abs(w - p) <= 1 for w, p in zip(whole, parts, strict=True))


RATES = Rates(
    "a bank",
    {
        "EUR/USD": {DAY: Decimal("1.25"), DAY - timedelta(days=4): Decimal("1.20")},
        "EUR/JPY": {DAY: Decimal(160)},
        "KWD/EUR": {DAY: Decimal("2.8")},
    },
    pivot="EUR",
)


@pytest.mark.parametrize(
    ("base", "quote", "exact"),
    [
        ("EUR", "EUR", Fraction(1)),
        ("EUR", "USD", Fraction(5, 4)),
        ("USD", "EUR", Fraction(4, 5)),
        ("EUR", "JPY", Fraction(160, 100)),
        ("JPY", "EUR", Fraction(100, 160)),
        ("KWD", "EUR", Fraction(28, 100)),
        ("USD", "JPY", Fraction(4, 5) * 160 / 100),
        ("JPY", "USD", Fraction(5, 4) * 100 / 160),
    ],
)
def test_a_factor_is_exact_between_minor_units_directly_in_reverse_and_by_the_pivot(base, quote, exact):
    assert RATES.factor(base, quote, DAY) == exact


def test_the_rate_of_a_day_is_the_latest_before_it_as_long_as_it_is_valid():
    assert RATES.factor("EUR", "USD", DAY - timedelta(days=1)) == Fraction(6, 5)
    assert RATES.factor("EUR", "USD", DAY + timedelta(days=7)) == Fraction(5, 4)
    for day in (DAY - timedelta(days=5), DAY + timedelta(days=8)):
        missing = RATES.factor("EUR", "USD", day)
        assert missing == Undefined(f"no rate of EUR/USD for {day} is declared (a bank)")


def test_a_pair_is_not_crossed_unless_a_pivot_is_named():
    rates = Rates("a bank", RATES.quotes)
    assert rates.factor("USD", "JPY", DAY) == Undefined(f"no rate of USD/JPY for {DAY} is declared (a bank)")
    assert isinstance(RATES.factor("USD", "CHF", DAY), Undefined)
    assert "no source of rates" in Rates("").factor("USD", "JPY", DAY).reason


@pytest.mark.parametrize("pair", [("XAU", "EUR"), ("EUR", "XAU")])
def test_what_has_no_minor_unit_is_not_converted(pair):
    assert RATES.factor(*pair, DAY) == Undefined("XAU has no minor unit in ISO 4217")


def test_a_mean_factor_weighs_days_alike():
    days = [DAY - timedelta(days=n) for n in range(4)]
    assert RATES.mean_factor("EUR", "USD", days) == (Fraction(5, 4) + 3 * Fraction(6, 5)) / 4
    assert RATES.mean_factor("EUR", "EUR", days) == 1
    assert isinstance(RATES.mean_factor("EUR", "USD", [DAY, DAY + timedelta(days=30)]), Undefined)
