"""Sign-in attempts counted, and the three classic attacks on them detected as they happen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any, ClassVar

import numpy as np
from pydantic import Field, model_validator

from collectors.catalog.security.auth import snapshot
from collectors.catalog.security.auth.attempts import Attempts, Vocabulary
from collectors.catalog.security.auth.events import Rows, Times
from collectors.catalog.security.auth.rules import BRUTE_FORCE, COMPROMISE, RULES, SPRAYING, Rule
from collectors.catalog.security.auth.successes import RecentSuccesses
from collectors.catalog.security.auth.windows import SlidingWindows
from collectors.config.collector import CollectorConfig
from collectors.contract.collector import CollectorContext, Streaming
from collectors.contract.example import Example
from collectors.model.batch import Batch
from collectors.model.metric import Collection, Finding, Kind, MetricSpec, Sample, Unit, Window
from collectors.model.status import Stability

_ATTEMPTS = MetricSpec(
    "collectors.security.auth.attempts",
    Kind.COUNTER,
    Unit.EVENTS,
    "Sign-in attempts by outcome and method; methods outside the vocabulary count as other, absent ones as unknown.",
    labels=("outcome", "method"),
)
_AUDIT = MetricSpec(
    "collectors.security.audit.events",
    Kind.COUNTER,
    Unit.EVENTS,
    "Audited actions by outcome; absent outcomes count as unknown.",
    labels=("outcome",),
)
_LATE = MetricSpec(
    "collectors.security.auth.late",
    Kind.COUNTER,
    Unit.EVENTS,
    "Attempts that arrived more than a window after they happened: counted, but not looked at for attacks.",
)
_RATIO = MetricSpec(
    "collectors.security.auth.failure_ratio",
    Kind.GAUGE,
    Unit.RATIO,
    "Share of the attempts of the last detection window that failed; challenges are no attempts yet.",
    nullable=True,
)
_FAILING = MetricSpec(
    "collectors.security.auth.failing_principals",
    Kind.GAUGE,
    Unit.USERS,
    "Distinct principals that failed to sign in during the last detection window.",
)
_DETECTED = MetricSpec(
    "collectors.security.auth.detections",
    Kind.COUNTER,
    Unit.EVENTS,
    "Episodes of attack that were detected, by rule.",
    labels=("rule",),
)
_EVICTED = MetricSpec(
    "collectors.security.auth.evicted",
    Kind.COUNTER,
    Unit.COUNT,
    "Principals and networks forgotten for want of room while they still mattered; above zero, attacks may be missed.",
    labels=("table",),
)
_STATE = MetricSpec("collectors.security.auth.state_size", Kind.GAUGE, Unit.BYTES, "Memory of the detection state.")


_AUDIT_OUTCOMES = Vocabulary("success", "failure", "denied")

_STEPS = 60
"""The failure ratio's window moves in sixtieths of itself."""
_SUCCESSES = 65_536
"""Successes remembered for failures that arrive after them."""


class SecurityEventConfig(CollectorConfig):
    """When attempts become an attack."""

    window_seconds: float = Field(default=600.0, ge=1, le=86_400)
    """Length of the sliding window, and how late an attempt may arrive to take part."""

    brute_force_failures: int = Field(default=10, ge=2, le=100)
    """Failures of one principal in a window that are a brute-force attack."""

    spraying_principals: int = Field(default=15, ge=2, le=1000)
    """Distinct principals failing from one network in a window that are password spraying."""

    success_after_failures: int = Field(default=5, ge=2, le=100)
    """Failures of a principal in the window before a success that make the success suspicious."""

    quiet_seconds: float = Field(default=1800.0, ge=1, le=604_800)
    """An attack is over, and will be reported anew, after so long without a further sign of it."""

    max_principals: int = Field(default=32_768, ge=16, le=1 << 20)
    """Failing principals remembered at once."""

    max_networks: int = Field(default=8_192, ge=16, le=1 << 20)
    """Networks with failures remembered at once."""

    @model_validator(mode="after")
    def _quiet_outlasts_the_window(self) -> SecurityEventConfig:
        if self.quiet_seconds < self.window_seconds:
            raise ValueError("quiet_seconds must not be less than window_seconds, or one attack is reported twice")
        return self


class SecurityEventCollector(Streaming[SecurityEventConfig]):
    """Count sign-in and audit outcomes, and detect brute force, password spraying and likely account takeover.

    Rules, over windows of ``window_seconds`` that slide over event time (defaults in parentheses):

    - ``brute_force``, ATT&CK T1110.001: one principal fails ``brute_force_failures`` times (10: PCI DSS 4.0.1
      requirement 8.3.4 locks an account after no more than 10 attempts, for 30 minutes, which is the default of
      ``quiet_seconds``). NIST SP 800-63B section 5.2.2 and OWASP ASVS 4.0 2.2.1 allow an account no more than 100
      failures, in a row and per hour; so the threshold can't be set above 100.
    - ``password_spraying``, T1110.003, and with leaked passwords T1110.004 which looks the same from here: attempts
      from one network fail for ``spraying_principals`` distinct principals (15; public detection rules for single
      addresses use 10 to 15 in five minutes, and here a network is a /24 or /48).
    - ``success_after_failures``, T1110: a principal signs in after ``success_after_failures`` failures (5, as in
      public rules for repeated failures that end in a success).

    ``failure`` and ``locked`` are failures, ``challenge`` is neither. A finding is raised once for each principal
    or network and rule, and again only after ``quiet_seconds`` without a further sign. It names the pseudonym in
    hexadecimal, or the network; never a raw identifier or a whole address.

    The detections do not depend on the order of rows or how they are cut into batches, as long as batches come in
    the order of ``received_time``, nothing is evicted and late events join no two episodes. A clock that runs
    ahead is set back to the time of arrival. Principals must be stored as pseudonyms (the default policy) or as
    they are; encrypted or dropped ones are counted but tell nobody apart. Networks are addresses as stored.

    Memory is at most ``memory_limit_bytes``, and small as long as few fail.
    """

    name: ClassVar[str] = "security_events"
    Config = SecurityEventConfig
    stability = Stability.BETA
    event_types = ("auth", "audit")
    emits = (
        _ATTEMPTS,
        _AUDIT,
        _LATE,
        _RATIO,
        _FAILING,
        *(rule.active for rule in RULES),
        _DETECTED,
        _EVICTED,
        _STATE,
    )

    _pane: int
    """The newest stretch of one window's length that an attempt arrived in."""
    _steps: dict[int, list[int]]
    """Failed and succeeded attempts by sixtieth of a window."""
    _principals: SlidingWindows
    _networks: SlidingWindows
    _successes: RecentSuccesses

    def __init__(
        self, config: SecurityEventConfig | CollectorConfig | None = None, context: CollectorContext | None = None
    ) -> None:
        super().__init__(config, context)
        self._window_us = int(self.config.window_seconds * 1e6)
        self._step_us = max(1, self._window_us // _STEPS)
        self._reset()

    @classmethod
    def examples(cls) -> Iterable[Example]:
        quiet = [_attempt(60 + n, f"user-{n}", "success", "198.51.100.0/24") for n in range(6)]
        guesses = [_attempt(300 - 20 * n, "ada", "failure", "203.0.113.0/24") for n in range(4)]
        entry = [_attempt(200, "ada", "success", "203.0.113.0/24"), _attempt(190, "ada", "challenge", None)]
        spraying = [_attempt(400 - n, f"victim-{n}", "locked", "192.0.2.0/24") for n in range(4)]
        audit = [{"actor": "ops", "action": "role.grant", "resource": "role/admin", "outcome": "denied"}]
        sharp = {"brute_force_failures": 3, "success_after_failures": 3, "spraying_principals": 3}
        yield Example("quiet_day", events={"auth": quiet, "audit": audit})
        yield Example("under_attack", sharp, {"auth": [*spraying, *guesses, *entry, *quiet], "audit": audit})

    @property
    def memory_limit_bytes(self) -> int:
        """The most memory the detection state ever takes."""
        return self._principals.limit_bytes + self._networks.limit_bytes + RecentSuccesses.BYTES_EACH * _SUCCESSES

    def observe(self, batch: Batch) -> Collection:
        if batch.type.name == "audit":
            counts = np.bincount(_AUDIT_OUTCOMES.codes(batch.table.column("outcome")))
            self._audit.update({_AUDIT_OUTCOMES.labels[code]: int(counts[code]) for code in np.flatnonzero(counts)})
            return Collection()
        if batch.table.num_rows == 0:
            return Collection()
        attempts = Attempts.of(batch, self._window_us)
        self._attempts.update(attempts.tally())
        self._late += len(attempts.time) - int(np.count_nonzero(attempts.on_time))
        self._count_steps(attempts)
        findings: list[Finding] = []
        for pane, failed, succeeded in attempts.panes(self._window_us):
            self._pane = max(self._pane, pane)
            findings += self._detect(attempts, failed, succeeded)
        self._detected.update(finding.rule for finding in findings)
        return Collection(findings=tuple(sorted(findings, key=lambda f: (f.time_us, f.rule, f.key))))

    async def collect(self, window: Window) -> Collection:
        now = window.end_us
        failed, finished = self._ratio_counts(now)
        ratio = (
            Sample(_RATIO.name, failed / finished)
            if finished
            else Sample(_RATIO.name, None, reason="nobody tried to sign in during the last window")
        )
        samples = [
            *(Sample(_ATTEMPTS.name, n, labels) for labels, n in sorted(self._attempts.items())),
            *(Sample(_AUDIT.name, n, (outcome,)) for outcome, n in sorted(self._audit.items())),
            Sample(_LATE.name, self._late),
            ratio,
            Sample(_FAILING.name, self._principals.live(now)),
            Sample(BRUTE_FORCE.active.name, self._principals.active(0, now)),
            Sample(SPRAYING.active.name, self._networks.active(0, now)),
            Sample(COMPROMISE.active.name, self._principals.active(1, now)),
            *(Sample(_DETECTED.name, n, (rule,)) for rule, n in sorted(self._detected.items())),
            Sample(_EVICTED.name, self._principals.evicted, ("principals",)),
            Sample(_EVICTED.name, self._networks.evicted, ("networks",)),
            Sample(_STATE.name, self._principals.size_bytes + self._networks.size_bytes + self._successes.size_bytes),
        ]
        return Collection(samples=tuple(samples))

    def snapshot(self) -> bytes:
        return snapshot.dump({
            "settings": self._settings(),
            "attempts": [[*labels, n] for labels, n in self._attempts.items()],
            "audit": dict(self._audit),
            "detected": dict(self._detected),
            "late": self._late,
            "pane": self._pane,
            "steps": [[step, *counts] for step, counts in self._steps.items()],
            "principals": self._principals.state(),
            "networks": self._networks.state(),
            "successes": self._successes.state(),
        })  # fmt: skip

    def restore(self, state: bytes) -> None:
        """Continue from ``state``; what was taken with other thresholds continues in its counters only."""
        saved = snapshot.load(state)
        self._reset()
        self._attempts.update({(outcome, method): n for outcome, method, n in saved["attempts"]})
        self._audit.update(saved["audit"])
        self._detected.update(saved["detected"])
        self._late = saved["late"]
        if saved["settings"] == self._settings():
            self._pane = saved["pane"]
            self._steps = {step: [failed, finished] for step, failed, finished in saved["steps"]}
            self._principals.restore(saved["principals"])
            self._networks.restore(saved["networks"])
            self._successes.restore(saved["successes"])

    def _reset(self) -> None:
        config, quiet = self.config, int(self.config.quiet_seconds * 1e6)
        self._attempts: Counter[tuple[str, str]] = Counter()
        self._audit: Counter[str] = Counter()
        self._detected: Counter[str] = Counter({rule.name: 0 for rule in RULES})
        self._late = 0
        self._pane = 0
        self._steps = {}
        self._principals = SlidingWindows(
            window_us=self._window_us,
            threshold=config.brute_force_failures,
            keep=max(config.brute_force_failures, config.success_after_failures),
            quiet_us=quiet,
            max_keys=config.max_principals,
            rules=2,
        )
        self._networks = SlidingWindows(
            window_us=self._window_us,
            threshold=config.spraying_principals,
            keep=config.spraying_principals,
            quiet_us=quiet,
            max_keys=config.max_networks,
            distinct=True,
        )
        self._successes = RecentSuccesses(_SUCCESSES)

    def _detect(self, attempts: Attempts, failed: Rows, succeeded: Rows) -> Iterator[Finding]:
        config = self.config
        if failed.size:
            onsets = self._principals.add(attempts.principal[failed], attempts.time[failed], None, self._pane)
            yield from self._findings(
                BRUTE_FORCE, config.brute_force_failures, attempts, failed[onsets.source], onsets.time
            )
            networks = attempts.networks(failed)
            origin = failed[networks != 0]
            if origin.size:
                onsets = self._networks.add(
                    networks[networks != 0], attempts.time[origin], attempts.principal[origin], self._pane
                )
                yield from self._findings(
                    SPRAYING, config.spraying_principals, attempts, origin[onsets.source], onsets.time
                )
        yield from self._compromises(attempts, failed, succeeded)
        self._successes.add(attempts.principal[succeeded], attempts.time[succeeded])

    def _compromises(self, attempts: Attempts, failed: Rows, succeeded: Rows) -> Iterator[Finding]:
        """Look at the new successes, and at remembered ones that new failures turn out to precede."""
        needed = self.config.success_after_failures
        at, rows = self._principals.find(attempts.principal[succeeded], needed)
        source, times = succeeded[at], attempts.time[succeeded[at]]
        suspects = failed[self._principals.find(attempts.principal[failed], needed)[0]]
        if suspects.size:
            keys, first = np.unique(attempts.principal[suspects], return_index=True)
            remembered, when = self._successes.of(keys, int(attempts.time[suspects].min()))
            at, found = self._principals.find(remembered, needed)
            source = np.concatenate((source, suspects[first[np.searchsorted(keys, remembered[at])]]))
            times = np.concatenate((times, when[at]))
            rows = np.concatenate((rows, found))
        if rows.size == 0:
            return
        order = np.lexsort((times, rows))
        order = order[self._principals.within(rows[order], times[order]) >= needed]
        begins = order[self._principals.note(1, rows[order], times[order])]
        yield from self._findings(COMPROMISE, needed, attempts, source[begins], times[begins])

    def _findings(self, rule: Rule, threshold: int, attempts: Attempts, rows: Rows, times: Times) -> Iterator[Finding]:
        column = attempts.table.column(rule.subject)
        for row, time_us in zip(rows.tolist(), times.tolist(), strict=True):
            yield rule.finding(column[row].as_py(), time_us, threshold, self.config.window_seconds)

    def _count_steps(self, attempts: Attempts) -> None:
        """Add the finished attempts to the failure ratio's steps of time."""
        first, last = int(attempts.time.min()) // self._step_us, int(attempts.time.max()) // self._step_us
        for column, flags in enumerate((attempts.failed, attempts.succeeded)):
            if first == last:  # as in most batches
                counted = {first: int(np.count_nonzero(flags))}
            else:
                steps, counts = np.unique(attempts.time[flags] // self._step_us, return_counts=True)
                counted = dict(zip(steps.tolist(), counts.tolist(), strict=True))
            for step, n in counted.items():
                self._steps.setdefault(step, [0, 0])[column] += n
        if len(self._steps) > 4 * _STEPS:
            newest = sorted(self._steps)[-2 * _STEPS :]
            self._steps = {step: self._steps[step] for step in newest}

    def _ratio_counts(self, now_us: int) -> tuple[int, int]:
        """Return failed and finished attempts of the window, which begins at the step it falls into."""
        first, last = (now_us - self._window_us + 1) // self._step_us, now_us // self._step_us
        counts = [self._steps[step] for step in range(first, last + 1) if step in self._steps]
        failed = sum(failed for failed, _ in counts)
        return failed, failed + sum(succeeded for _, succeeded in counts)

    def _settings(self) -> dict[str, Any]:
        shared = CollectorConfig.model_fields.keys()
        return {key: value for key, value in self.config.model_dump().items() if key not in shared}


def _attempt(seconds_ago: int, who: str, outcome: str, network: str | None) -> dict[str, Any]:
    """Return a sign-in for an example."""
    when = timedelta(seconds=seconds_ago)
    return {"event_time": when, "principal": who, "outcome": outcome, "method": "password", "ip": network}
