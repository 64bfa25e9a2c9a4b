"""What a tenant's customers will still be worth, by probability models of buying and leaving.

Definitions
    * A la carte (tickets, merchandise, single tracks): succeeded charges above 0 without a service period; a charge
      that pays for a period belongs to a subscription. What a customer buys in a day of the tenant's time zone is one
      purchase. Currencies are never added up: each has its own customers and models.
    * Purchases follow BG/NBD, MBG/NBD or Pareto/NBD, spend per purchase Gamma-Gamma; the latter only where spend and
      frequency hardly correlate, which it assumes. Value is expected purchases times expected spend over
      ``horizon_days``, discounted.
    * Subscriptions: a contract begins with its first ``start`` and ends when its first cancellation or expiry takes
      effect; one that is reactivated is a success of winning back, not of retention. Renewals follow the shifted
      beta-geometric model, for each signup month and for all. Value is the discounted price of the renewals to come
      within ``horizon_days``; contracts that are announced to end are worth no more.
    * All counts end with the last complete day. Intervals are 95 % and cover what is not known of the parameters.
    * The models are judged on what they had not seen: fitted without the last ``holdout_days``, compared with them.
    * What the data cannot tell is None with the reason: see ``analytics.clv``, which also has the sources.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from collectors.analytics.clv import bg_nbd, pareto_nbd
from collectors.analytics.clv.contracts import DAYS, DAYS_A_YEAR, MONTHS
from collectors.analytics.clv.history import Histories
from collectors.analytics.clv.report import predictions
from collectors.analytics.clv.valuation import Horizon, PurchaseModel
from collectors.analytics.local_days import local_day, utc
from collectors.analytics.refusal import Refusal
from collectors.catalog.business.lifetime import queries
from collectors.catalog.business.lifetime.a_la_carte import ALaCarte, summary
from collectors.catalog.business.lifetime.examples import examples
from collectors.catalog.business.lifetime.metrics import EMITS
from collectors.catalog.business.lifetime.queries import Times
from collectors.catalog.business.lifetime.subscriptions import NO_CURRENCY, Subscriptions, priced_in
from collectors.config.collector import CollectorConfig
from collectors.contract.collector import Analytical, TenantLake
from collectors.contract.example import Example
from collectors.errors import LifecycleError
from collectors.model.metric import Collection, Issue, Sample, Window

if TYPE_CHECKING:
    import ibis.expr.types as ir

MAX_CURRENCIES = 8
PARAMETERS = {"bg_nbd": bg_nbd.NAMES, "mbg_nbd": bg_nbd.NAMES, "pareto_nbd": pareto_nbd.NAMES}


class CustomerLifetimeValueConfig(CollectorConfig):
    """How far customers are looked back at and ahead to, and by which model."""

    interval_seconds: float = Field(default=3600.0, gt=0, le=86_400)
    """Seconds between the starts of two runs."""

    history_days: int = Field(default=1826, ge=28, le=3653)
    """Days of purchases and subscriptions that are read; a customer's first purchase is the first in these."""

    horizon_days: int = Field(default=365, ge=1, le=3653)
    """Days ahead that value is counted for."""

    max_extrapolation: float = Field(default=1.0, gt=0, le=10)
    """Longest horizon, as a multiple of how long the oldest customers have been observed."""

    holdout_days: int = Field(default=91, ge=7, le=731)
    """Days kept back to judge the models by."""

    annual_discount_rate: float = Field(default=0.10, ge=0, le=2)
    """What a payment in a year is worth less, as interest."""

    purchase_model: Literal["bg_nbd", "mbg_nbd", "pareto_nbd"] = "bg_nbd"
    """Model of purchases a la carte."""

    max_spend_correlation: float = Field(default=0.3, gt=0, le=1)
    """Strongest correlation of spend and frequency at which spend is modelled."""

    cohorts: int = Field(default=24, ge=1, le=60)
    """Signup months reported apart; older ones are added up as ``earlier``."""


class CustomerLifetimeValueCollector(Analytical[CustomerLifetimeValueConfig]):
    """Report what customers and subscribers are expected to bring, by cohort, with intervals and hold-out errors."""

    name = "customer_lifetime_value"
    Config = CustomerLifetimeValueConfig
    emits = EMITS

    @classmethod
    def examples(cls) -> Iterable[Example]:
        return examples()

    def queries(self, window: Window) -> Mapping[str, ir.Table]:
        times = self._times(window)
        return {
            "customers": queries.customers(times).drop("customer_id").order_by(queries.CUSTOMER_ORDER),
            "occasions": queries.occasion_counts(times),
            "subscriptions": queries.subscriptions(times),
        }

    async def collect(self, window: Window) -> Collection:
        lake = self._lake()
        results = {key: await lake.query(expr) for key, expr in self.queries(window).items()}
        # Fitting a million customers takes seconds, which the event loop has not.
        return await asyncio.to_thread(self.derive, results, window)

    def derive(self, results: Mapping[str, pa.Table], window: Window) -> Collection:
        times = self._times(window)
        customers, occasions, contracts = (results[key] for key in ("customers", "occasions", "subscriptions"))
        samples: list[Sample] = []
        bought_in = _most_common(customers.column("currency"))
        for currency in bought_in[:MAX_CURRENCIES] or [NO_CURRENCY]:
            bought = _where(customers, "currency", currency)
            group = self._a_la_carte(currency, bought, times)
            samples += group.samples(self.config.cohorts)
            samples += group.foretold(bought, _where(occasions, "currency", currency), times.split)
        subscribed_in = _most_common(priced_in(contracts))
        known = set(contracts.column("interval").to_pylist())
        for interval in [i for i in (*DAYS, *MONTHS) if i in known] or ["month"]:
            chosen = _where(contracts, "interval", interval)
            rate = self.config.annual_discount_rate
            subscriptions = Subscriptions(
                interval, chosen, times.last_day, self._horizon(), rate, subscribed_in[:MAX_CURRENCIES]
            )
            samples += subscriptions.samples(self.config.cohorts)
            samples += subscriptions.foretold(times.split)
        issues = tuple(
            Issue(
                "too_many_currencies",
                f"only the {MAX_CURRENCIES} currencies with the most {who} are reported; check the sources",
            )
            for currencies, who in ((bought_in, "customers"), (subscribed_in, "subscriptions"))
            if len(currencies) > MAX_CURRENCIES
        )
        return Collection(samples=tuple(samples), issues=issues)

    async def predictions(self, window: Window, currency: str) -> pa.Table | Refusal:
        """Return a row per customer who bought in ``currency``: see ``analytics.clv.report`` for the columns.

        A refusal says why nothing can be foretold. Not for metrics: customers are too many to be labels.
        """
        times = self._times(window)
        customers = queries.customers(times)
        order = [*queries.CUSTOMER_ORDER, "customer_id"]
        table = await self._lake().query(customers.filter(customers.currency == currency).order_by(order))
        valued = (await asyncio.to_thread(self._a_la_carte, currency, table, times)).valuation
        return valued if isinstance(valued, Refusal) else predictions(table.column("customer_id"), valued)

    def _lake(self) -> TenantLake:
        if self.context.lake is None:
            raise LifecycleError(f"{self.name} needs a lake to query; run it for a tenant of a server")
        return self.context.lake

    def _times(self, window: Window) -> Times:
        zone, end = self.context.tenant.time_zone, utc(window.end_us)
        last_day = (local_day(window.end_us - 1, zone) - date(1970, 1, 1)).days - 1
        start = end - timedelta(days=self.config.history_days)
        return Times(start, end, last_day, last_day - self.config.holdout_days, zone)

    def _horizon(self) -> Horizon:
        rate = float(np.log1p(self.config.annual_discount_rate)) / DAYS_A_YEAR
        return Horizon(self.config.horizon_days, rate, self.config.max_extrapolation)

    def _a_la_carte(self, currency: str, table: pa.Table, times: Times) -> ALaCarte:
        name = self.config.purchase_model
        return ALaCarte(
            currency,
            summary(table, times.last_day),
            self._fit,
            (name, PARAMETERS[name]),
            self._horizon(),
            self.config.max_spend_correlation,
        )

    def _fit(self, rows: Histories) -> PurchaseModel | Refusal:
        if self.config.purchase_model == "pareto_nbd":
            return pareto_nbd.fit(rows)
        return bg_nbd.fit(rows, may_leave_at_once=self.config.purchase_model == "mbg_nbd")


def _where(table: pa.Table, column: str, value: str) -> pa.Table:
    return table.filter(pc.equal(table.column(column), value))


def _most_common(names: pa.ChunkedArray) -> list[str]:
    """Return distinct names, the commonest first."""
    counts = pc.value_counts(names).to_pylist()
    return [c["values"] for c in sorted(counts, key=lambda c: (-c["counts"], c["values"]))]
