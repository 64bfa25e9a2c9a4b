"""What a load balancer tells: HAProxy, nginx, NGINX Plus or Envoy, in one model and in the product's own metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator

from collectors.catalog.performance.balancer import (
    checks,
    common,
    envoy,
    haproxy,
    nginx,
    nginx_plus,
    transitions,
)
from collectors.catalog.performance.balancer.bounds import bounded
from collectors.catalog.performance.balancer.checks import HealthCheck
from collectors.catalog.performance.balancer.model import Reading, Texts
from collectors.catalog.performance.balancer.recorded import RecordedBalancer, RecordedChecker
from collectors.config.collector import CollectorConfig
from collectors.contract.collector import Sampling
from collectors.contract.example import Example
from collectors.drivers.envoy import EnvoyAdmin
from collectors.drivers.haproxy import HaproxyPage, HaproxySocket
from collectors.drivers.health_check import HealthChecker
from collectors.drivers.http_source import HttpSource
from collectors.drivers.nginx import NginxPlus, NginxStatus
from collectors.errors import LifecycleError, SourceUnavailable
from collectors.model.metric import Collection, Issue, MetricSpec, Sample, Window
from collectors.model.status import Stability

Product = Literal["haproxy", "nginx", "nginx_plus", "envoy"]

_READERS: Mapping[str, Callable[..., Reading]] = {
    "haproxy": haproxy.read,
    "nginx": nginx.read,
    "nginx_plus": nginx_plus.read,
    "envoy": envoy.read,
}
_LARGE = 1 << 18
"""Characters of an answer from which on it is worked on beside the event loop."""
_NGINX_PAGE = (
    "Active connections: 3 \nserver accepts handled requests\n 120 118 400 \nReading: 1 Writing: 1 Waiting: 1 \n"
)


class Source(Protocol):
    """Where a balancer's texts come from."""

    async def read(self) -> Texts:
        """Return the texts by part."""

    async def close(self) -> None:
        """Let go of connections."""


class LoadBalancerConfig(CollectorConfig):
    """Which balancer is asked, and how."""

    product: Product = "haproxy"
    """Which balancer it is; an Istio sidecar is an ``envoy``."""

    address: str = Field(
        default="unix:/run/haproxy/admin.sock",
        pattern=r"^(unix:/[^\s]+|tcp://[^@/\s]+:\d+|https?://[^@/\s]+(/[^@\s]*)?)$",
    )
    """HAProxy: ``unix:`` or ``tcp://`` of the stats socket, or the page that ends with ``;csv`` or is its Prometheus
    page. nginx: the page of ``stub_status``. NGINX Plus: the API with its version. Envoy: the administration port."""

    username: str = ""
    """User for HTTP basic authentication; none if empty."""

    password: SecretStr = SecretStr("")
    """That user's password."""

    ca_file: str = ""
    """Certificates to trust for ``https``, in PEM; those of the system if empty."""

    request_timeout_seconds: float = Field(default=5.0, gt=0, le=60)
    """How long one answer may take as a whole."""

    native: bool = True
    """Whether the product's own metrics are reported beside the shared model."""

    max_servers: int = Field(default=1000, ge=1, le=10_000)
    """Servers reported one by one; those beyond it are only counted in their backends."""

    max_backends: int = Field(default=500, ge=1, le=10_000)
    """Backends reported; if there are more, those that are down come first, and an issue tells how many are not."""

    checks: tuple[HealthCheck, ...] = Field(default=(), max_length=500)
    """Targets for health checks of our own."""

    check_servers: Literal["off", "tcp", "http"] = "off"
    """Whether the balancer's servers are checked from here, where it tells their addresses."""

    max_checks: int = Field(default=200, ge=1, le=2000)
    """Targets that are checked from here at most; an issue tells how many are not."""

    check_path: str = Field(default="/", pattern=r"^/[^\s#]*$")
    """Page that is asked for when servers are checked by HTTP."""

    check_timeout_seconds: float = Field(default=1.0, gt=0, le=30)
    """How long one health check may take."""

    check_rise: int = Field(default=2, ge=1, le=100)
    """Passes in a row that make a target well."""

    check_fall: int = Field(default=3, ge=1, le=100)
    """Failures in a row that make a target fail."""

    @model_validator(mode="after")
    def _fits(self) -> LoadBalancerConfig:
        if self.address.startswith("tcp://") and self.product != "haproxy":
            raise ValueError(f"{self.product} is asked by http, not tcp; give an address such as http://host:port/")
        try:
            urlsplit(self.address).port  # noqa: B018  # reading it is what checks it
        except ValueError:
            raise ValueError("the address has a port that can't be; ports are 0 to 65535") from None
        names = [check.name for check in self.checks]
        if len(names) != len(set(names)):
            raise ValueError("give each health check a name of its own")
        return self


class LoadBalancerCollector(Sampling[LoadBalancerConfig]):
    """Report frontends, backends, servers, health, queues, errors and latency of a load balancer.

    Metrics ``collectors.load_balancer.*`` mean the same for HAProxy, nginx, NGINX Plus and Envoy; those of the
    product, ``collectors.haproxy.*``, ``collectors.nginx.*`` and ``collectors.envoy.*``, are all it tells. What a
    product does not tell is left out. Counters are passed on as the balancer keeps them.

    Findings, from one reading to the next: ``server_down``, ``server_up``, ``server_flapped`` (down and back in
    between, by the balancer's own count), ``servers_ejected``, ``backend_down``, ``backend_up`` and
    ``balancer_restarted``; from health checks of its own ``check_failed``, ``check_recovered`` and
    ``balancer_disagrees``. A server that someone took out is no finding.
    """

    name: ClassVar[str] = "load_balancer"
    Config = LoadBalancerConfig
    stability = Stability.BETA
    emits: ClassVar[tuple[MetricSpec, ...]] = (
        *common.EMITS,
        *checks.EMITS,
        *haproxy.EMITS,
        *nginx.EMITS,
        *nginx_plus.EMITS,
        *envoy.EMITS,
    )

    _source: Source | None = None
    _checker: Any = None
    _before: Reading | None = None
    _health: Mapping[str, checks.Health]

    @classmethod
    def examples(cls) -> Iterable[Example]:
        yield Example("nginx", {"product": "nginx"}, files={"status": _NGINX_PAGE})
        yield Example("not_there", {"password": "s3cret-s3cret", "username": "stats"}, fails=SourceUnavailable)

    @classmethod
    def recorded(cls, folder: Path) -> Mapping[str, Any]:
        """Return a balancer that answers with the files in ``folder``, and targets as ``checks.json`` says."""
        return {"load_balancer": RecordedBalancer(folder), "health_check": RecordedChecker(folder)}

    async def open(self) -> None:
        self._source = self.context.drivers.get("load_balancer") or self._driver()
        self._checker = self.context.drivers.get("health_check") or HealthChecker(
            timeout_s=self.config.check_timeout_seconds, clock=self.context.clock
        )
        self._before, self._health = None, {}

    async def collect(self, window: Window) -> Collection:
        if self._source is None:
            raise LifecycleError("open load_balancer before collecting from it")
        config = self.config
        texts = await self._source.read()
        large = sum(len(text) for text in texts.values() if isinstance(text, str)) > _LARGE
        if large:  # a tenth of a second of work, in which the event loop has others to serve
            whole, reading, left_out, samples = await asyncio.to_thread(self._digest, texts)
        else:
            whole, reading, left_out, samples = self._digest(texts)
        wanted = checks.targets(config.checks, reading, config.check_servers, config.check_path)
        probes, unchecked = checks.at_most(wanted, config.max_checks)
        checked = await checks.run(self._checker, probes, self._health, config.check_rise, config.check_fall)
        found = transitions.findings(whole, self._before, window)
        if probes:
            samples = (*samples, *checks.derive(checked, whole))
            found = (*found, *checks.findings(checked, self._health, whole))
        # Only now that nothing can fail: a failed run leaves what the next one compares with.
        self._before, self._health = whole, checked.health
        return Collection(samples, found, (*reading.issues, *left_out, *unchecked, *checked.issues))

    def _digest(self, texts: Texts) -> tuple[Reading, Reading, tuple[Issue, ...], tuple[Sample, ...]]:
        """Return the reading, as much of it as is reported, issues for the rest, and the samples; changes nothing."""
        config = self.config
        whole = _READERS[config.product](texts, native=config.native)
        reading, left_out = bounded(whole, config.max_backends, config.max_servers)
        return (
            replace(whole, samples=()),
            reading,
            left_out,
            (
                *common.derive(reading, self._before, whole),
                *reading.samples,
            ),
        )

    async def close(self) -> None:
        source, self._source = self._source, None
        checker, self._checker = self._checker, None
        for driver in (source, checker):
            if driver is not None:
                await driver.close()

    def _driver(self) -> Source:
        config = self.config
        if config.product == "haproxy" and not config.address.startswith("http"):
            return HaproxySocket(config.address, timeout_s=config.request_timeout_seconds)
        page = HttpSource(
            config.address,
            username=config.username,
            password=config.password,
            ca_file=config.ca_file,
            timeout_s=config.request_timeout_seconds,
        )
        drivers: Mapping[str, Callable[[HttpSource], Source]] = {
            "haproxy": HaproxyPage,
            "nginx": NginxStatus,
            "nginx_plus": NginxPlus,
            "envoy": EnvoyAdmin,
        }
        return drivers[config.product](page)


if __name__ == "__main__":
    from collectors.catalog.show import show

    show(LoadBalancerCollector())
