"""From what the queries counted to samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from collectors.analytics.concentration import concentration
from collectors.analytics.engagement import Activity
from collectors.analytics.seasonality import LEAST_WEEKS, Judgement, judge
from collectors.catalog.business.listening import Heard, Times
from collectors.catalog.business.tenant.config import Quota, TenantBusinessMetricsConfig
from collectors.catalog.business.tenant.metrics import (
    ACTIVE,
    ANOMALY,
    ARTIST_GINI,
    ARTIST_HHI,
    COMPARED,
    CONVERSION,
    COUNTRIES,
    DEVICE_MIX,
    DEVICES,
    GINI,
    GROWTH,
    HHI,
    HOURS,
    LAST_HOUR,
    NEW,
    PAYERS,
    PERIODS,
    PLAYS,
    QUOTA_USE,
    RETURNING,
    REVENUE,
    REVENUE_GROWTH,
    SEASONAL,
    STREAMS,
    TOP_ARTISTS,
    TOP_TRACKS,
    TRIALS,
    USUAL,
)
from collectors.catalog.business.tenant.queries import complete
from collectors.model.metric import Finding, MetricSpec, Sample, Severity

Row = Mapping[str, Any]
CONCENTRATION = {"tracks": (TOP_TRACKS, HHI, GINI), "artists": (TOP_ARTISTS, ARTIST_HHI, ARTIST_GINI)}


def audience(people: Activity, payers: Row) -> Iterator[Sample]:
    """Report active, new and returning listeners, and customers who paid."""
    for period, length in PERIODS.items():
        active, new = people.active(0, length), people.new(0, length)
        yield Sample(ACTIVE.name, active, (period,))
        yield Sample(NEW.name, new, (period,))
        yield Sample(RETURNING.name, active - new, (period,))
        yield Sample(PAYERS.name, payers[period], (period,))


def listening(days: list[dict[str, Any]], times: Times) -> Iterator[Sample]:
    """Report plays, streams and hours heard."""
    for period, length in PERIODS.items():
        heard = Heard.on(days, times.first_day(length), times.today)
        yield Sample(PLAYS.name, heard.plays, (period,))
        yield Sample(STREAMS.name, heard.streams, (period,))
        yield Sample(HOURS.name, heard.hours, (period,))


def growth(people: Activity, days: list[dict[str, Any]], times: Times) -> Iterator[Sample]:
    """Compare the last complete week and month with the one before."""
    one_day = timedelta(days=1)
    for period in COMPARED:
        now, before = complete(times, period)
        latest = Heard.on(days, now, times.today - one_day)
        earlier = Heard.on(days, before, now - one_day)
        length = PERIODS[period]
        figures = {
            "active_users": (people.active(1, length), people.active(1 + length, length)),
            "new_users": (people.new(1, length), people.new(1 + length, length)),
            "plays": (latest.plays, earlier.plays),
            "streams": (latest.streams, earlier.streams),
            "listening_hours": (latest.ms_played, earlier.ms_played),
        }
        for figure, (this, that) in figures.items():
            yield ratio(GROWTH, this - that, that, f"there were none in the {period} before", figure, period)


def revenue(currencies: list[dict[str, Any]]) -> Iterator[Sample]:
    """Report revenue and its growth by currency."""
    for row in currencies:
        currency = row["currency"]
        for period in PERIODS:
            yield Sample(REVENUE.name, row[period] or 0, (period, currency))
        for period in COMPARED:
            now, before = row[f"now_{period}"] or 0, row[f"before_{period}"] or 0
            # Of a loss nothing can be a share.
            reason = f"there was no revenue in the {period} before"
            yield ratio(REVENUE_GROWTH, now - before, max(before, 0), reason, period, currency)


def trials(row: Row) -> Iterator[Sample]:
    """Report trials and how many became paid."""
    yield Sample(TRIALS.name, row["trials"])
    yield ratio(CONVERSION, row["converted"], row["trials"], "no trial has had its full time to convert")


def content(kind: str, counted: pa.Table, hours: int) -> Iterator[Sample]:
    """Report how concentrated recent streams are on few of the ``kind``, tracks or artists."""
    amounts, items = (counted.column(name).to_numpy().astype(np.int64) for name in ("streams", "items"))
    found = concentration(amounts, items)
    top, hhi, gini = CONCENTRATION[kind]
    figures = (found.top_percent, found.top_ten, found.hhi, found.gini) if found else (None,) * 4
    reason = "" if found else f"no stream of known {kind} in the last {hours} h"
    for spec, labels, value in zip((top, top, hhi, gini), (("1%",), ("10",), (), ()), figures, strict=True):
        yield Sample(spec.name, value, labels, reason=reason)


def mix(rows: list[dict[str, Any]], config: TenantBusinessMetricsConfig) -> Iterator[Sample]:
    """Report recent streams by country and device; countries by name as many as are wanted."""
    total = sum(row["streams"] for row in rows)
    reason = f"nothing was streamed in the last {config.recent_hours} h"
    countries: dict[str, int] = {}
    devices = dict.fromkeys((*DEVICES, "other", "unknown"), 0)
    for row in rows:
        country = row["country"] if row["country"] == "unknown" or _is_country(row["country"]) else "other"
        countries[country] = countries.get(country, 0) + row["streams"]
        devices[row["device"]] += row["streams"]
    rest = {name: countries.pop(name, 0) for name in ("other", "unknown")}
    ranked = sorted(countries, key=lambda country: (-countries[country], country))
    rest["other"] += sum(countries[country] for country in ranked[config.top_countries :])
    shown = {country: countries[country] for country in ranked[: config.top_countries]} | rest
    for spec, counts in ((COUNTRIES, shown), (DEVICE_MIX, devices)):
        for name, streams in counts.items():
            yield ratio(spec, streams, total, reason, name)


def seasonal(
    tables: Sequence[pa.Table], hours_asked: Sequence[datetime | None]
) -> Mapping[str, tuple[int, Judgement | None]]:
    """Return of each figure the count of the last whole hour, and how unusual it is for its hour of the week.

    Rows are of hours by their place in ``hours_asked``: the last whole one, then those of earlier weeks.
    """
    counts = {figure: np.zeros(len(hours_asked)) for figure in SEASONAL}
    earlier = [number for number, start in enumerate(hours_asked) if number and start is not None][::-1]
    for table in tables:
        hours = table.column("hour").to_numpy()
        for figure in set(table.column_names) & set(SEASONAL):
            counts[figure][hours] = table.column(figure).to_numpy()
    return {figure: (int(found[0]), judge(found[0], found[earlier])) for figure, found in counts.items()}


def anomalies(judged: Mapping[str, tuple[int, Judgement | None]]) -> Iterator[Sample]:
    """Report the last whole hour beside what is usual."""
    reason = f"this hour of the week has come fewer than {LEAST_WEEKS} times since there are any"
    for figure, (count, found) in judged.items():
        yield Sample(LAST_HOUR.name, count, (figure,))
        if found is None:
            yield Sample(USUAL.name, None, (figure,), reason=reason)
            yield Sample(ANOMALY.name, None, (figure,), reason=reason)
        else:
            yield Sample(USUAL.name, found.usual, (figure,))
            yield Sample(ANOMALY.name, found.score, (figure,))


def findings(judged: Mapping[str, tuple[int, Judgement | None]], least: float) -> Iterator[Finding]:
    """Tell of figures whose score is beyond ``least``."""
    for figure, (count, found) in judged.items():
        if found is not None and abs(found.score) > least:
            summary = (
                f"{count:,} {figure} in the last whole hour, where {found.usual:,.0f} are usual at this time of the "
                f"week: {found.score:+.1f} robust standard deviations"
            )
            yield Finding("seasonal_anomaly", figure, Severity.WARNING, summary, (("figure", figure),))


def quotas(
    limits: Mapping[Quota, float], people: Activity, days: list[dict[str, Any]], times: Times
) -> Iterator[Sample]:
    """Report use of quotas since the first of the month."""
    heard = Heard.on(days, times.today.replace(day=1), times.today)
    used: dict[Quota, float] = {
        "active_users": people.active(0, times.today.day),
        "plays": heard.plays,
        "streams": heard.streams,
        "listening_hours": heard.hours,
    }
    for quota, limit in limits.items():
        yield Sample(QUOTA_USE.name, used[quota] / limit, (quota,))


def _is_country(code: str) -> bool:
    return len(code) == 2 and code.isascii() and code.isalpha() and code.isupper()


def ratio(spec: MetricSpec, part: float, whole: float, undefined: str, *labels: str) -> Sample:
    """Return a sample of ``part / whole``, without value and with the reason ``undefined`` if whole is zero."""
    if not whole:
        return Sample(spec.name, None, labels, reason=undefined)
    return Sample(spec.name, part / whole, labels)
