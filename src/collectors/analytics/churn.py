"""Three churn rates under three names, because they answer three questions and are not the same number.

* Logo churn: which share of the customers at the start of a period had left at its end?
  https://help.chartmogul.com/hc/en-us/articles/203359341
* Revenue churn: which share of their recurring revenue was gone, by leaving or paying less? Gains from others or from
  paying more don't count, so it is 1 - gross revenue retention.
* Average-subscriber churn: cancellations in a period over the mean of its daily numbers of subscribers, per month, as
  the streaming market reports it (Spotify's F-1). Those who came and left within the period count in it, too.
"""

from __future__ import annotations

from collections.abc import Sequence


def logo_churn(at_start: int, lost: int) -> float | None:
    """Return the share of ``at_start`` customers of whom ``lost`` had left at the end; None if there were none."""
    return lost / at_start if at_start else None


def revenue_churn(at_start: float, kept: float) -> float | None:
    """Return the share of recurring revenue lost; None if there was none.

    ``kept`` is what the customers of the start pay at the end, each at most what they paid at the start, in the same
    currency and unit as ``at_start``.
    """
    return (at_start - kept) / at_start if at_start else None


def average_subscriber_churn(cancellations: int, daily_subscribers: Sequence[int], months: float) -> float | None:
    """Return cancellations per month and average daily subscriber; None if nobody subscribed on any day.

    ``daily_subscribers`` are the numbers at the end of each day of a period that is ``months`` long.
    """
    total = sum(daily_subscribers)
    return cancellations * len(daily_subscribers) / total / months if total else None
