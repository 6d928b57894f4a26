"""Counters of `rotation` and `takeover`, and the details of each failure."""

import time
from dataclasses import dataclass, field, fields
from typing import Any, Final

MAX_RECORDED_FAILURES: Final = 100


@dataclass(slots=True)
class Counts:
    """Instants are seconds since 1970; in the figures they are relative to the start of the run."""

    credential_rotations: int = 0
    """Values of `client_secret` seen in Secrets, without the first of each client."""
    secrets_tried: int = 0
    """Responses of a replica to a value that had just appeared in a Secret."""
    secrets_refused: int = 0
    token_requests: int = 0
    failed_token_requests: int = 0
    """Requests that got no token, or a 401 before the token."""
    verifications: int = 0
    refused_valid_tokens: int = 0
    verified_too_late: int = 0
    """Refused after expiry: this process was late."""
    retries_503: int = 0
    retries_connection: int = 0
    """Requests that one replica did not answer and that were sent to the other."""
    unanswered: int = 0
    """Requests that no replica answered; `scopewright.client` retries them."""
    verifier_waits: int = 0
    """Verifications that waited because no keys were available."""
    mounts_swapped: int = 0
    issuer_kills: int = 0
    operator_kills: int = 0
    started: float = field(default_factory=time.time)
    first_published: dict[str, float] = field(default_factory=dict)
    """By kid: when it was first seen in the JWKS of any replica."""
    first_signed: dict[str, float] = field(default_factory=dict)
    """By kid: when the first request was sent whose token was signed with it."""
    longest_jwks_lag: float = 0.0
    """Longest time, in seconds, that a kid was published by one replica and missing from the JWKS of a ready one."""
    first_kids: set[str] = field(default_factory=set)
    """Keys that signed during the warm-up; they do not count as rotated."""
    loop_delays: list[float] = field(default_factory=list)
    """Samples of the delay of this process's event loop, in seconds."""
    failures: list[dict[str, Any]] = field(default_factory=list)
    killed: list[tuple[float, str]] = field(default_factory=list)

    def reset(self) -> None:
        """Discard what was counted during the start."""
        self.started = time.time()
        self.loop_delays.clear()
        self.retries_503 = self.retries_connection = self.unanswered = 0

    @property
    def key_rotations(self) -> int:
        """Number of keys that started to sign after the warm-up."""
        return len(self.first_signed.keys() - self.first_kids)

    def record_failure(self, what: str, **details: Any) -> None:
        if len(self.failures) < MAX_RECORDED_FAILURES:
            self.failures.append({"at": self.since(time.time()), "what": what, **details})

    def since(self, instant: float) -> float:
        return round(instant - self.started, 2)

    def record_signed(self, kid: str, asked_at: float) -> None:
        if asked_at < self.first_signed.get(kid, float("inf")):
            self.first_signed[kid] = asked_at

    def record_jwks_lag(self, now: float, served: set[str]) -> None:
        lag = now - min((at for kid, at in self.first_published.items() if kid not in served), default=now)
        self.longest_jwks_lag = max(self.longest_jwks_lag, lag)

    def published_for(self, kid: str) -> float:
        """Seconds from the first sight of a key in a JWKS to its first token; negative if the token came first."""
        return self.first_signed[kid] - self.first_published.get(kid, float("inf"))

    def figures(self, publish_ahead: float) -> dict[str, Any]:
        rotated = sorted(self.published_for(kid) for kid in self.first_signed.keys() - self.first_kids)
        numbers = {f.name: getattr(self, f.name) for f in fields(self) if f.type is int}
        return {
            "key_rotations": self.key_rotations,
            **numbers,
            "kills": self.issuer_kills + self.operator_kills,
            "keys_signed_too_early": sum(seconds < publish_ahead for seconds in rotated),
            "shortest_publication_seconds": round(rotated[0], 2) if rotated else None,
            "longest_jwks_lag_seconds": round(self.longest_jwks_lag, 2),
            "bench_lag_ms": {
                "p50": _quantile_ms(self.loop_delays, 0.5),
                "p99": _quantile_ms(self.loop_delays, 0.99),
                "most": _quantile_ms(self.loop_delays, 1),
            },
            "killed_at": [[self.since(at), who] for at, who in self.killed],
            "failures": self.failures,
        }


def _quantile_ms(seconds: list[float], quantile: float) -> float:
    """The quantile, in milliseconds."""
    ordered = sorted(seconds) or [0.0]
    return round(1000 * ordered[min(int(quantile * len(ordered)), len(ordered) - 1)], 1)
