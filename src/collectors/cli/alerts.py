"""``collectors alerts``: what fires, what is silenced, what was told, and what a rule would have done."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from collectors.cli import options
from collectors.cli.show import note, print_json, print_table, utc
from collectors.cli.tenants import existing
from collectors.errors import ConfigError, UnknownName

if TYPE_CHECKING:
    from collectors.alerting.backtest import History
    from collectors.alerting.rules import Rule
    from collectors.app.folder import DataFolder
    from collectors.config.alerting import AlertingConfig
    from collectors.drivers.alert_store import AlertStore
    from collectors.model.alert import Alert
    from collectors.model.metric import MetricSpec

app = typer.Typer(help="See and silence alerts, and try rules on the past.", no_args_is_help=True)

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_INLINE = re.compile(r"([a-z][a-z0-9_.]*)\s*([<>])\s*([-+.0-9e]+)")
_DAY_US = 86_400 * 10**6

Matchers = Annotated[
    list[str], typer.Argument(help="Conditions on labels that must all hold, such as rule=cpu_high host=~web.*")
]


@app.command("list", epilog=options.examples("collectors alerts list", "collectors alerts list --tenant acme --all"))
def list_(
    *,
    tenant: options.Tenant = None,
    every: Annotated[bool, typer.Option("--all", help="Also those that are over.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Most alerts to list.")] = 100,
    as_json: options.AsJson = False,
    data: options.Data = options.DEFAULT_DATA,
) -> None:
    """List the alerts that fire, and whether somebody takes care or wants silence."""
    from collectors.alerting.notification import alert_data, routing_labels
    from collectors.config.matchers import matches
    from collectors.model.alert import AlertState

    folder = existing(data)
    store = _store(folder)
    now = folder.clock.now_us()
    found = folder.samples.alerts(tenant, None if every else AlertState.FIRING, limit)
    cared = store.acknowledgements()
    quiet = [s for s in store.silences(now) if s.silence.starts_us <= now]

    def silences(alert: Alert) -> list[str]:
        labels = routing_labels(alert)
        return [s.id for s in quiet if s.silence.tenant in {None, alert.tenant} and matches(s.silence.match, labels)]

    if as_json:
        print_json([{**alert_data(a), "acknowledged": a.id in cared, "silences": silences(a)} for a in found])
        return
    rows = [
        (
            a.id,
            a.tenant,
            str(a.severity),
            str(a.state),
            a.summary,
            utc(a.started_us),
            ", ".join([*(["acknowledged"] if a.id in cared else []), *(f"silence {s}" for s in silences(a))]),
        )
        for a in found
    ]
    print_table(("alert", "tenant", "severity", "state", "summary", "since", "note"), rows)


@app.command(
    epilog=options.examples(
        'collectors alerts silence rule=cpu_high --for 2h --comment "new disks"',
        "collectors alerts silence 'severity!=critical' --tenant acme --for 30m",
    )
)
def silence(
    matchers: Matchers,
    *,
    tenant: options.Tenant = None,
    lasts: Annotated[str, typer.Option("--for", help="How long: 30m, 2h, 1d.", metavar="DURATION")] = "1h",
    starts: Annotated[str | None, typer.Option("--from", help="When it begins, ISO 8601; now.", metavar="TIME")] = None,
    comment: Annotated[str, typer.Option(help="Why, for others to read.")] = "",
    data: options.Data = options.DEFAULT_DATA,
) -> None:
    """Tell nobody of matching alerts for a while; they are recorded all the same. Prints the silence's id."""
    from pydantic import ValidationError

    from collectors.config.alerting import Silence

    folder = existing(data)
    if tenant is not None:
        folder.control.tenant(tenant)
    begins = folder.clock.now_us() if starts is None else parse_time(starts, "--from")
    try:
        wanted = Silence(
            match=tuple(matchers),
            tenant=tenant,
            starts_us=begins,
            ends_us=begins + parse_duration(lasts, "--for"),
            author="command line",
            comment=comment,
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise ConfigError(
            first["msg"].removeprefix("Value error, "),
            where=".".join(map(str, first["loc"])),
            fix="change it.",
        ) from None
    id_ = _store(folder).add_silence(wanted)
    note(f"Silent until {utc(wanted.ends_us)}. End it sooner with: collectors alerts unsilence {id_}")
    print(id_)


@app.command(epilog=options.examples("collectors alerts unsilence 3f9a61c07be2"))
def unsilence(
    silence_id: Annotated[str, typer.Argument(help="Id of the silence.", metavar="SILENCE")],
    *,
    data: options.Data = options.DEFAULT_DATA,
) -> None:
    """End a silence now."""
    folder = existing(data)
    _store(folder).end_silence(silence_id, folder.clock.now_us())
    note("The silence is over.")


@app.command(epilog=options.examples("collectors alerts silences --json"))
def silences(
    *,
    tenant: options.Tenant = None,
    as_json: options.AsJson = False,
    data: options.Data = options.DEFAULT_DATA,
) -> None:
    """List the silences that are not over."""
    folder = existing(data)
    found = _store(folder).silences(folder.clock.now_us(), tenant)
    if as_json:
        print_json([{"id": s.id, **s.silence.model_dump(mode="json")} for s in found])
        return
    rows = [
        (
            s.id,
            s.silence.tenant or "(all)",
            " ".join(s.silence.match),
            utc(s.silence.starts_us),
            utc(s.silence.ends_us),
            s.silence.author,
            s.silence.comment,
        )
        for s in found
    ]
    print_table(("silence", "tenant", "match", "from", "until", "author", "comment"), rows)


@app.command(epilog=options.examples("collectors alerts ack 5d2c81f0a47b9e6633aa10c2"))
def ack(
    alert_id: Annotated[str, typer.Argument(help="Id of the alert, as listed.", metavar="ALERT")],
    *,
    data: options.Data = options.DEFAULT_DATA,
) -> None:
    """Say that somebody takes care of an alert: it is not repeated, and PagerDuty is told."""
    from collectors.model.alert import AlertState

    folder = existing(data)
    firing = folder.samples.alerts(state=AlertState.FIRING, limit=100_000)
    if alert_id not in {a.id for a in firing}:
        raise UnknownName("no alert of that id fires; list them with: collectors alerts list")
    _store(folder).acknowledge(alert_id, folder.clock.now_us(), "command line")
    note("The alert is acknowledged.")


@app.command(epilog=options.examples("collectors alerts deliveries", "collectors alerts deliveries --state waiting"))
def deliveries(
    *,
    tenant: options.Tenant = None,
    state: Annotated[str | None, typer.Option(help="Only waiting, delivered or given_up.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Most deliveries to list.")] = 50,
    as_json: options.AsJson = False,
    data: options.Data = options.DEFAULT_DATA,
) -> None:
    """List what was told to whom, the newest first, with the outcome of the last attempt."""
    from collectors.alerting.notification import Notification

    store = _store(existing(data))
    found = [
        (d, Notification.load(d.content), store.attempts(d.number))
        for d in store.deliveries(tenant=tenant, state=state, limit=limit)
    ]
    if as_json:
        print_json(
            [
                {
                    "id": d.id,
                    "handler": d.handler,
                    "tenant": d.tenant,
                    "title": n.title(),
                    "alerts": [a.id for a in n.alerts],
                    "created": d.created_us,
                    "state": d.state,
                    "attempts": [
                        {"number": a.number, "at": a.at_us, "outcome": a.outcome, "error": a.error} for a in attempts
                    ],
                }
                for d, n, attempts in found
            ]
        )
        return
    rows = [
        (utc(d.created_us), d.handler, n.title(), d.state, str(d.attempts), attempts[-1].error if attempts else "")
        for d, n, attempts in found
    ]
    print_table(("decided", "handler", "notification", "state", ">attempts", "error"), rows)


@app.command(
    "test",
    epilog=options.examples(
        "collectors alerts test cpu_high --config collectors.toml --tenant platform --at 2026-11-20T03:15",
        "collectors alerts test 'cpu_usage>80' --for 5m --tenant platform --from 2026-11-19 --to 2026-11-21",
    ),
)
def try_rule(
    rule: Annotated[str, typer.Argument(help="Name of a configured rule, or METRIC>LIMIT, or METRIC<LIMIT.")],
    *,
    tenant: options.OneTenant,
    at: Annotated[
        str | None, typer.Option(help="What fired then, ISO 8601, UTC unless it says.", metavar="TIME")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--from", help="Begin here; a day before the end.", metavar="TIME")
    ] = None,
    until: Annotated[str | None, typer.Option("--to", help="End here; now.", metavar="TIME")] = None,
    lasting: Annotated[
        str | None, typer.Option("--for", help="For METRIC>LIMIT: how long.", metavar="DURATION")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="File with the rule, in its [alerting] table.")] = None,
    as_json: options.AsJson = False,
    data: options.Data = options.DEFAULT_DATA,
) -> None:
    """Tell what a rule would have done on the samples that are stored."""
    from collectors.alerting.backtest import backtest, firing_at
    from collectors.alerting.notification import alert_data

    folder = existing(data)
    folder.control.tenant(tenant)
    end = parse_time(until, "--to") if until else folder.clock.now_us()
    moment = parse_time(at, "--at") if at else None
    if moment is not None and until is None:
        end = moment
    begin = parse_time(since, "--from") if since else end - _DAY_US
    if begin >= end:
        raise ConfigError("it ends before it begins", where="--from", fix="give --from a time before --to.")
    bound = _rule(rule, lasting, config, _specs(folder, tenant))
    found = backtest(bound, tenant, _histories(folder, tenant, bound.spec.name, begin, end), end)
    shown = found if moment is None else firing_at(found, moment)
    if as_json:
        print_json([alert_data(a) for a in shown])
        return
    if moment is not None:
        note(f"At {utc(moment)} this rule {'fired' if shown else 'did not fire'}.")
    else:
        note(f"From {utc(begin)} to {utc(end)} this rule would have fired {len(shown)} times.")
    rows = [
        (utc(a.started_us), utc(a.ended_us), str(a.severity), a.summary, ", ".join(f"{k}={v}" for k, v in a.labels))
        for a in shown
    ]
    if rows:
        print_table(("from", "until", "severity", "summary", "labels"), rows)


def parse_duration(text: str, option: str) -> int:
    """Return microseconds of a duration such as ``90s`` or ``1h30m``."""
    parts = re.findall(r"(\d+)([smhdw])", text)
    if not parts or "".join(n + u for n, u in parts) != text:
        raise ConfigError("that is no duration", where=option, fix="write one such as 30m, 2h or 1d12h.")
    return sum(int(number) * _UNITS[unit] for number, unit in parts) * 10**6


def parse_time(text: str, option: str) -> int:
    """Return UTC microseconds of an ISO 8601 time, which is in UTC unless it says otherwise."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError("that is no time", where=option, fix="write one such as 2026-11-20T03:15.") from None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1e6)


def _store(folder: DataFolder) -> AlertStore:
    from collectors.drivers.alert_store import AlertStore

    return AlertStore(folder.path / "alerts.db")


def _specs(folder: DataFolder, tenant: str) -> list[MetricSpec]:
    """Return what the tenant's collectors declare, with the aliases that installed collectors give."""
    from collectors.contract.registry import collector_class, collector_names

    installed: dict[str, MetricSpec] = {}
    for name in collector_names():
        try:
            installed |= {spec.name: spec for spec in collector_class(name).emits}
        except ImportError:  # one that lacks its extra has no aliases here, and hides no others
            continue
    return [installed.get(m.spec.name, m.spec) for m in folder.samples.metrics(tenant)]


def _rule(text: str, lasting: str | None, config: Path | None, specs: list[MetricSpec]) -> Rule:
    from collectors.alerting.rules import bind
    from collectors.config.alert_rule import AlertRule

    inline = _INLINE.fullmatch(text.strip())
    if inline is not None:
        metric, sign, number = inline.groups()
        try:
            limit = float(number)
        except ValueError:
            raise ConfigError("that limit is no number", where="RULE", fix="write METRIC>80.") from None
        seconds = parse_duration(lasting, "--for") / 1e6 if lasting else 0.0
        side = {"above": limit} if sign == ">" else {"below": limit}
        return bind(AlertRule(name="test", metric=metric, for_seconds=seconds, **side), specs, where="RULE")
    if config is None:
        raise ConfigError(f"there is no rule {text[:64]!r}", fix="give --config FILE, or write METRIC>LIMIT.")
    rules = {rule.name: rule for rule in _alerting(config).rules}
    if text not in rules:
        known = ", ".join(rules) or "none"
        raise ConfigError(f"there is no rule {text[:64]!r}", where=str(config), fix=f"there are: {known}.")
    return bind(rules[text], specs)


def _alerting(path: Path) -> AlertingConfig:
    """Read the ``[alerting]`` table of a server's file, whatever else stands there."""
    from collectors.config.alerting import AlertingConfig
    from collectors.config.loading import Layer, load, toml_layer

    whole = toml_layer(path)
    lines = {key[1:]: line for key, line in whole.lines.items() if key[:1] == ("alerting",)}
    values = whole.values.get("alerting", {})
    return load(AlertingConfig, [Layer(whole.file, values, lines, problems=whole.problems)])


def _histories(folder: DataFolder, tenant: str, metric: str, begin: int, end: int) -> list[History]:
    from collectors.alerting.backtest import History

    # As many buckets as microseconds: every sample by itself, no averages.
    series = folder.samples.range(tenant, metric, begin, end + 1, end + 1 - begin)
    return [History(tuple(s.labels.items()), s.points) for s in series]
