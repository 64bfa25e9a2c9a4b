"""The kinds of attack that are detected, and how a finding names whom it concerns."""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass

from collectors.model.metric import Finding, Kind, MetricSpec, Severity, Unit

_PSEUDONYM_BYTES = 16


@dataclass(frozen=True, slots=True)
class Rule:
    """A kind of attack: its name, its technique of MITRE ATT&CK, whom it concerns, and how it is told."""

    name: str
    severity: Severity
    technique: str
    subject: str
    """``principal`` or ``ip``: the column that the finding's key comes from."""
    summary: str
    active: MetricSpec

    def finding(self, value: bytes, time_us: int, threshold: int, window_s: float) -> Finding:
        """Make the finding about the stored ``value`` of the subject's column."""
        who, label = (
            (principal_name(value), "principal") if self.subject == "principal" else (network_name(value), "network")
        )
        return Finding(
            rule=self.name,
            key=who,
            severity=self.severity,
            summary=self.summary.format(n=threshold, window=window_s),
            labels=(("technique", self.technique), (label, who)),
            time_us=time_us,
        )


def _active(name: str, what: str) -> MetricSpec:
    return MetricSpec(f"collectors.security.auth.{name}.active", Kind.GAUGE, Unit.COUNT, what)


BRUTE_FORCE = Rule(
    "brute_force",
    Severity.WARNING,
    "T1110.001",
    "principal",
    "At least {n} failed sign-ins of one principal within {window:g} s.",
    _active("brute_force", "Principals whose password is being guessed."),
)
SPRAYING = Rule(
    "password_spraying",
    Severity.WARNING,
    "T1110.003",
    "ip",
    "Failed sign-ins of at least {n} principals from one network within {window:g} s.",
    _active("password_spraying", "Networks from which many principals fail to sign in."),
)
COMPROMISE = Rule(
    "success_after_failures",
    Severity.CRITICAL,
    "T1110",
    "principal",
    "A successful sign-in after at least {n} failures of the same principal within {window:g} s.",
    _active("success_after_failures", "Principals that signed in after many failures: possibly compromised."),
)
RULES = (BRUTE_FORCE, SPRAYING, COMPROMISE)


def principal_name(value: bytes) -> str:
    """Return a pseudonym in hexadecimal; anything else could be a raw identifier, so its digest."""
    if len(value) == _PSEUDONYM_BYTES:
        return value.hex()
    return hashlib.blake2b(value, digest_size=_PSEUDONYM_BYTES).hexdigest()


def network_name(value: bytes) -> str:
    """Return the /24 or /48 of a stored network or address; the digest of what is neither, such as a ciphertext."""
    try:
        network = ipaddress.ip_network(value.decode("ascii"), strict=False)
    except ValueError:
        return hashlib.blake2b(value, digest_size=_PSEUDONYM_BYTES).hexdigest()
    widest = 24 if network.version == 4 else 48
    return str(network if network.prefixlen <= widest else network.supernet(new_prefix=widest))
