from __future__ import annotations

import sys

import pytest

from collectors.cli.show import number, print_table, progress, short, utc


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (999, "999"),
        (999.4, "999"),
        (999.6, "1k"),
        (1234, "1.23k"),
        (999_600, "1M"),
        (4_560_000, "4.56M"),
        (-1500, "-1.5k"),
        (7.89e9, "7.89G"),
        (2e12, "2T"),
        (1e16, "1e+04T"),
    ],
)
def test_numbers_are_shortened(value: float, text: str) -> None:
    assert short(value) == text


def test_numbers_have_their_thousands_apart() -> None:
    assert (number(1234567), number(None), number(0.25, 1)) == ("1,234,567", "-", "0.2")


@pytest.mark.parametrize(
    ("time_us", "text"),
    [(0, "-"), (None, "-"), (1_500_000, "1970-01-01 00:00:01.500Z"), (1, "1970-01-01 00:00:00.000Z")],
)
def test_times_are_utc_to_the_millisecond(time_us: int | None, text: str) -> None:
    assert utc(time_us) == text


def test_cells_are_shown_as_they_are_however_they_look(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("a", ">n"), [("[bold]x[/bold] :smile:", "5")], title="T")
    out = capsys.readouterr().out
    assert "[bold]x[/bold] :smile:" in out
    assert out.startswith("T")


def test_progress_is_shown_on_a_terminal_only(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with progress("working", 10) as advance:
        advance(5)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress("working", 10) as advance:
        for _ in range(5):
            advance(1)
    assert "working" in capsys.readouterr().err
    with progress("working", 10, hidden=True) as advance:
        advance(5)
    assert capsys.readouterr().err == ""
