"""Who leaves, when, and why: churn rates, survival of subscribers, and the probability that each leaves soon.

Definitions
    * A customer is a subscriber while at least one of their subscriptions runs; a trial isn't one yet, a pause doesn't
      end one. A cancellation ends it when it takes effect, unless it is withdrawn before.
    * The three churn rates are those of ``analytics.churn``, over the ``period_days`` times 24 hours that end where
      today begins in the tenant's time zone.
    * A tenure is a customer's first time as a subscriber. Its survival is the Kaplan-Meier estimate with delayed entry
      for those who began before the records, in whole 24-hour days; bands are pointwise, on the log(-log) scale.
      Tenures whose beginning is not on record are left out, and counted.
    * The probability to leave is that of announcing it within ``horizon_days``, of those who have not announced it
      yet, from the rollups of the 28 days before. The model is learnt three horizons ago, calibrated two ago, judged
      one ago, and applied where today begins.
    * Drivers: log odds per standard deviation of each feature (ridge logistic regression), and hazard ratios per
      standard deviation (Cox, Efron's ties, time being the tenure, entered where the model was learnt) with the test
      that the ratio is constant in time. Both say what goes along with leaving, not what causes it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pydantic import AwareDatetime, Field

from collectors.analytics.churn import average_subscriber_churn, logo_churn, revenue_churn
from collectors.analytics.churn_model import Calibration, ChurnModel, Snapshot, learn
from collectors.analytics.local_days import day_start, local_day, utc
from collectors.analytics.refusal import Refusal
from collectors.analytics.survival import CoxModel, Estimate, Proportionality, cox, kaplan_meier, proportionality
from collectors.analytics.survival.life_table import Bools, Floats
from collectors.analytics.tenures import DAY_S, Spells
from collectors.catalog.business import churn_queries as queries
from collectors.catalog.business.churn_examples import examples
from collectors.catalog.business.churn_features import FEATURES, features, read_spells
from collectors.config.collector import CollectorConfig
from collectors.contract.collector import Analytical
from collectors.contract.example import Example
from collectors.errors import LifecycleError
from collectors.model.metric import Collection, Issue, Kind, MetricSpec, Sample, Unit, Window

if TYPE_CHECKING:
    import ibis.expr.types as ir

SURVIVAL_DAYS = (30, 90, 180, 365)
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.99)
BOUNDS = ("estimate", "lower", "upper")
DRIVERS = tuple(name for name in FEATURES if name not in ("tenure", "renewals_due"))
"""Features that may drive a hazard: not the time itself, nor what soon changes with it."""
NOW, JUDGED, CALIBRATED, LEARNT = range(4)
"""Cut-off days, by how many horizons ago they are."""


def _gauge(name: str, unit: Unit, description: str, *labels: str, nullable: bool = True) -> MetricSpec:
    return MetricSpec(f"collectors.churn.{name}", Kind.GAUGE, unit, description, labels, nullable=nullable)


SUBSCRIBERS = _gauge("subscribers", Unit.USERS, "Customers who are subscribers where today begins.", nullable=False)
LOGO = _gauge("logo_churn", Unit.RATIO, "Share of the customers at the start of the period who had left at its end.")
REVENUE = _gauge(
    "revenue_churn",
    Unit.RATIO,
    "Share of what recurred at the start of the period that was lost at its end, by leaving or paying less.",
    "currency",
)
AVERAGE = _gauge(
    "average_subscriber_churn",
    Unit.RATIO,
    "Cancellations in the period over its average daily subscribers, per 30 days.",
)
TENURES = _gauge("tenures", Unit.USERS, "First tenures by what is known of them.", "state", nullable=False)
SURVIVAL = _gauge("survival", Unit.RATIO, "Share of subscribers who stay longer than some days.", "days", "bound")
MEDIAN = _gauge("median_tenure", Unit.SECONDS, "Time after which half of the subscribers have left.", "bound")
MEAN = _gauge(
    "restricted_mean_tenure", Unit.SECONDS, "Mean tenure within the first days of subscribers.", "days", "bound"
)
PROBABILITY = _gauge(
    "probability", Unit.RATIO, "Quantiles of the subscribers' calibrated probability to leave.", "quantile"
)
EXPECTED = _gauge("expected_churn", Unit.RATIO, "Mean calibrated probability to announce leaving in the horizon.")
BRIER = _gauge("brier", Unit.RATIO, "Brier score of the probabilities a horizon ago.")
SKILL = _gauge("brier_skill", Unit.RATIO, "Part of the base rate's Brier score that the probabilities take away.")
LOG_LOSS = _gauge("log_loss", Unit.RATIO, "Mean negative log-likelihood of the probabilities a horizon ago, in nats.")
CALIBRATION = _gauge("calibration_error", Unit.RATIO, "Expected calibration error over ten bins of equal mass.")
AUC = _gauge("auc", Unit.RATIO, "Chance that one who left had a higher score than one who stayed.")
LIFT = _gauge("top_decile_lift", Unit.RATIO, "Churn among the tenth with the highest scores over that of all.")
DRIVER = _gauge(
    "driver_effect", Unit.RATIO, "Log odds to leave per standard deviation of a feature.", "driver", "bound"
)
HAZARD = _gauge(
    "hazard_ratio", Unit.RATIO, "Hazard ratio to leave per standard deviation of a feature.", "driver", "bound"
)
CONSTANCY = _gauge(
    "proportionality_p", Unit.RATIO, "P-value of the test that a hazard ratio is constant in time.", "driver"
)


class ChurnAnalyticsConfig(CollectorConfig):
    """How churn is measured and predicted."""

    interval_seconds: float = Field(default=3600.0, gt=0, le=86_400)
    """Seconds between the starts of two runs."""

    period_days: int = Field(default=30, ge=1, le=366)
    """Length of the period of the churn rates."""

    horizon_days: int = Field(default=30, ge=1, le=183)
    """How far ahead leaving is predicted."""

    observed_since: AwareDatetime | None = None
    """When complete records of subscriptions begin: who began earlier counts from then on, as delayed entry."""

    penalty: float = Field(default=1.0, gt=0)
    """Strength of the ridge penalty: the precision of the normal prior on each standardised effect."""

    calibration: Calibration = "auto"
    """``isotonic``, ``platt``, or ``auto``: isotonic if there are a thousand cases to calibrate on."""

    least_leavers: int = Field(default=50, ge=10)
    """Leavers needed in each of the three periods before anything is predicted."""


@dataclass(frozen=True, slots=True)
class _Times:
    """The days and instants of one window."""

    cutoffs: tuple[date, ...]
    instants: tuple[datetime, ...]
    end: datetime

    def seconds(self, cutoff: int) -> int:
        """Return a cut-off as seconds since 1970."""
        return int(self.instants[cutoff].timestamp())

    def features(self, table: pa.Table, spells: Spells, chosen: Bools, cutoff: int) -> Floats:
        """Return the features of the ``chosen`` spells at a cut-off."""
        horizon = (self.cutoffs[NOW] - self.cutoffs[JUDGED]).days
        return features(table, spells, chosen, self.cutoffs[cutoff], self.seconds(cutoff), cutoff, horizon)


class ChurnAnalyticsCollector(Analytical[ChurnAnalyticsConfig]):
    """Report churn rates, survival of subscribers, calibrated churn probabilities and what drives them."""

    name = "churn_analytics"
    Config = ChurnAnalyticsConfig
    emits = (
        SUBSCRIBERS, LOGO, REVENUE, AVERAGE, TENURES, SURVIVAL, MEDIAN, MEAN, PROBABILITY, EXPECTED, BRIER, SKILL,
        LOG_LOSS, CALIBRATION, AUC, LIFT, DRIVER, HAZARD, CONSTANCY,
    )  # fmt: skip

    @classmethod
    def examples(cls) -> Iterable[Example]:
        return examples()

    def queries(self, window: Window) -> Mapping[str, ir.Table]:
        times = self._times(window)
        today = times.instants[NOW]
        return {
            "subscribers": queries.subscribers(times.end, times.cutoffs),
            "revenue": queries.revenue(today - timedelta(days=self.config.period_days), today),
        }

    def derive(self, results: Mapping[str, pa.Table], window: Window) -> Collection:
        times, config = self._times(window), self.config
        table = results["subscribers"]
        spells = read_spells(table)
        currencies = results["revenue"].to_pylist()
        model = self._learn(table, spells, times)
        scored = times.features(table, spells, spells.undecided(times.seconds(NOW)), NOW)
        samples = (
            *_rates(spells, times.seconds(NOW), config.period_days),
            *_revenue(currencies[: queries.MAX_CURRENCIES]),
            *_tenures(spells, times, config.observed_since),
            *_probabilities(model, scored),
            *_quality(model),
            *_drivers(model),
            *_hazards(table, spells, times, config.least_leavers),
        )
        issues: tuple[Issue, ...] = ()
        if len(currencies) > queries.MAX_CURRENCIES:
            message = f"only the {queries.MAX_CURRENCIES} currencies with the most revenue are reported"
            issues = (Issue("too_many_currencies", message),)
        return Collection(samples=samples, issues=issues)

    async def probabilities(self, window: Window) -> pa.Table:
        """Return customer_id and probability to leave of each subscriber, where today begins, the likeliest first.

        Columns: ``customer_id`` (binary, as pseudonymised), ``probability`` (float64). No rows if there are too few
        leavers to learn from.
        """
        if self.context.lake is None:
            raise LifecycleError(f"{self.name} needs a lake to query; run it for a tenant of a server")
        return self.score(await self.context.lake.query(self.queries(window)["subscribers"]), window)

    def score(self, subscribers: pa.Table, window: Window) -> pa.Table:
        """Return the table of ``probabilities`` from the result of the query of subscribers; pure."""
        times = self._times(window)
        spells = read_spells(subscribers)
        model = self._learn(subscribers, spells, times)
        chosen = spells.undecided(times.seconds(NOW))
        if isinstance(model, Refusal):
            chosen, probability = np.zeros_like(chosen), np.zeros(0)
        else:
            probability = model.probability(times.features(subscribers, spells, chosen, NOW))
        customers = subscribers.column("customer_id").filter(pa.array(chosen))
        table = pa.table({"customer_id": customers, "probability": probability})
        return table.sort_by([("probability", "descending"), ("customer_id", "ascending")])

    def _times(self, window: Window) -> _Times:
        zone = self.context.tenant.time_zone
        today = local_day(window.end_us - 1, zone)
        cutoffs = tuple(today - timedelta(days=self.config.horizon_days * k) for k in range(4))
        return _Times(cutoffs, tuple(day_start(day, zone) for day in cutoffs), utc(window.end_us))

    def _learn(self, table: pa.Table, spells: Spells, times: _Times) -> ChurnModel | Refusal:
        def snapshot(cutoff: int) -> Snapshot:
            at = times.seconds(cutoff)
            chosen = spells.undecided(at)
            left = spells.told[chosen] < times.seconds(cutoff - 1)
            return Snapshot(times.features(table, spells, chosen, cutoff), left)

        return learn(
            snapshot(LEARNT),
            snapshot(CALIBRATED),
            snapshot(JUDGED),
            FEATURES,
            penalty=self.config.penalty,
            calibration=self.config.calibration,
            least_leavers=self.config.least_leavers,
        )


def _rates(spells: Spells, today_s: int, days: int) -> Iterator[Sample]:
    moved = spells.movement(today_s, days)
    yield Sample(SUBSCRIBERS.name, int(np.count_nonzero(spells.active(today_s))))
    yield _sample(LOGO, logo_churn(moved.at_start, moved.lost), f"nobody was a subscriber {days} days ago")
    average = average_subscriber_churn(moved.cancellations, moved.daily, days / 30)
    yield _sample(AVERAGE, average, f"nobody was a subscriber in the last {days} days")


def _revenue(currencies: Sequence[Mapping[str, Any]]) -> Iterator[Sample]:
    for row in currencies:
        yield _sample(REVENUE, revenue_churn(row["at_start"], row["kept"]), "nothing recurred", row["currency"])


def _tenures(spells: Spells, times: _Times, observed_since: datetime | None) -> Iterator[Sample]:
    since = None if observed_since is None else math.ceil(observed_since.timestamp())
    lives = spells.lifetimes(int(times.end.timestamp()), since)
    unknown = (spells.number == 0) & ~spells.known
    for state, of_it in (
        ("followed", np.ones(len(lives.events), dtype=np.bool_)),
        ("ended", lives.events),
        ("entered_late", lives.entry > 0),
        ("unknown_beginning", unknown),
    ):
        yield Sample(TENURES.name, int(np.count_nonzero(of_it)), (state,))
    curve = kaplan_meier(*lives)
    for days in SURVIVAL_DAYS:
        yield from _estimate(SURVIVAL, curve.at(days), 1.0, str(days))
    yield from _estimate(MEDIAN, curve.median(), DAY_S)
    for days in SURVIVAL_DAYS:
        yield from _estimate(MEAN, curve.restricted_mean(days), DAY_S, str(days))


def _probabilities(model: ChurnModel | Refusal, scored: Floats) -> Iterator[Sample]:
    none = str(model) if isinstance(model, Refusal) else "nobody is a subscriber who has not announced to leave"
    known = None if isinstance(model, Refusal) or not len(scored) else model.probability(scored)
    for quantile in QUANTILES:
        value = None if known is None else float(np.quantile(known, quantile))
        yield _sample(PROBABILITY, value, none, f"{quantile:g}")
    # A sum of sorted values does not depend on the order in which subscribers come.
    yield _sample(EXPECTED, None if known is None else float(np.sort(known).mean()), none)


def _quality(model: ChurnModel | Refusal) -> Iterator[Sample]:
    for spec, name in (
        (BRIER, "brier"),
        (SKILL, "brier_skill"),
        (LOG_LOSS, "log_loss"),
        (CALIBRATION, "calibration_error"),
        (AUC, "auc"),
        (LIFT, "top_decile_lift"),
    ):
        if isinstance(model, Refusal):
            yield Sample(spec.name, None, reason=str(model))
        else:
            yield _sample(spec, getattr(model.quality, name), "undefined on the period that judges")


def _drivers(model: ChurnModel | Refusal) -> Iterator[Sample]:
    known = {}
    if not isinstance(model, Refusal):
        lower, upper = model.logistic.interval()
        values = zip(model.logistic.coefficients, lower, upper, strict=True)
        known = {n: tuple(map(float, v)) for n, v in zip(model.logistic.names, values, strict=True)}
    none = str(model) if isinstance(model, Refusal) else "the feature is the same for every subscriber"
    for driver in FEATURES:
        for bound, value in zip(BOUNDS, known.get(driver, (None,) * 3), strict=True):
            yield _sample(DRIVER, value, none, driver, bound)


def _hazards(table: pa.Table, spells: Spells, times: _Times, least_leavers: int) -> Iterator[Sample]:
    """Fit hazards from where the model was learnt to the end, tenure being the time.

    A feature whose ratio can't be estimated is left out with the reason, so that the others still are.
    """
    at, end = times.seconds(LEARNT), int(times.end.timestamp())
    chosen = spells.undecided(at) & (spells.told > at) & (spells.known | (spells.number > 0))
    begun, told = spells.begun[chosen], spells.told[chosen]
    lives = ((np.minimum(told, end) - begun) / DAY_S, told < end, (at - begun) / DAY_S)
    leavers = int(lives[1].sum())
    too_few = f"{leavers} who left are too few to fit hazards to; {least_leavers} are needed"
    reasons = dict.fromkeys(DRIVERS, too_few) if leavers < least_leavers else {}
    x = times.features(table, spells, chosen, LEARNT)
    while names := [name for name in DRIVERS if name not in reasons]:
        data = x[:, [FEATURES.index(name) for name in names]]
        model = cox(data, *lives, names=names)
        if isinstance(model, CoxModel):
            constancy = proportionality(model, data, *lives)
            yield from _ratios(model, constancy, data.std(axis=0))
            break
        reasons |= {model.of: str(model)} if model.of else dict.fromkeys(names, str(model))
    for driver, reason in reasons.items():
        for bound in BOUNDS:
            yield _sample(HAZARD, None, reason, driver, bound)
        yield _sample(CONSTANCY, None, reason, driver)


def _ratios(model: CoxModel, constancy: Proportionality | None, deviations: Floats) -> Iterator[Sample]:
    bounds = np.exp(np.clip([model.coefficients, *model.interval()] * deviations, -700, 700)).T
    for driver, ratios in zip(model.names, bounds.tolist(), strict=True):
        for bound, ratio in zip(BOUNDS, ratios, strict=True):
            yield _sample(HAZARD, ratio, "", driver, bound)
        tested = constancy.covariates[driver].p_value if constancy else None
        yield _sample(CONSTANCY, tested, "all left at one time", driver)


def _estimate(spec: MetricSpec, estimate: Estimate, scale: float, *labels: str) -> Iterator[Sample]:
    values = (estimate.value, estimate.lower, estimate.upper)
    for bound, value in zip(BOUNDS, values, strict=True):
        yield _sample(spec, None if value is None else value * scale, estimate.reason, *labels, bound)


def _sample(spec: MetricSpec, value: float | None, undefined: str, *labels: str) -> Sample:
    """Return a sample; without value, it has the reason ``undefined``."""
    return Sample(spec.name, value, labels, reason="" if value is not None else undefined)
