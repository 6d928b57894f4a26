"""What is counted while everything rotates, and what is told of each failure."""

import time
from dataclasses import dataclass, field, fields
from typing import Any, Final

MOST_TOLD: Final = 100


@dataclass(slots=True)
class Counts:
    """Instants are seconds since 1970; the figures have them from the beginning of the run."""

    credential_rotations: int = 0
    """Values of `client_secret` seen in Secrets, the first of each client left out."""
    secrets_tried: int = 0
    """Answers of a replica to a value that was in a Secret a moment before."""
    secrets_refused: int = 0
    token_requests: int = 0
    failed_token_requests: int = 0
    """No token in the end, or a 401 on the way to it."""
    verifications: int = 0
    refused_valid_tokens: int = 0
    verified_too_late: int = 0
    """Refused, and expired by then: this process was not quick enough."""
    retries_503: int = 0
    retries_connection: int = 0
    """Requests that a killed replica did not answer, and that went to the other."""
    unanswered: int = 0
    """Requests that no replica answered: the client waits, as `scopewright.client` does by itself."""
    verifier_waits: int = 0
    """Verifications that had to wait because no keys could be had."""
    mounts_swapped: int = 0
    issuer_kills: int = 0
    operator_kills: int = 0
    began: float = field(default_factory=time.time)
    published: dict[str, float] = field(default_factory=dict)
    """When a kid was first seen in the JWKS of any replica."""
    signing: dict[str, float] = field(default_factory=dict)
    """When the request was sent whose token first named the kid."""
    longest_jwks_lag: float = 0.0
    """Seconds for which a kid was public elsewhere, and not in the JWKS of a replica that called itself ready."""
    first_kids: set[str] = field(default_factory=set)
    """Of keys that signed before anything was counted: the issuer's very first signs at once."""
    lags: list[float] = field(default_factory=list)
    """Seconds by which this process was late, sampled all the time."""
    told: list[dict[str, Any]] = field(default_factory=list)
    killed: list[tuple[float, str]] = field(default_factory=list)

    def begin(self) -> None:
        """What was seen while everything started says nothing."""
        self.began = time.time()
        self.lags.clear()
        self.retries_503 = self.retries_connection = self.unanswered = 0

    @property
    def key_rotations(self) -> int:
        """Keys that began to sign."""
        return len(self.signing.keys() - self.first_kids)

    def tell(self, what: str, **details: Any) -> None:
        if len(self.told) < MOST_TOLD:
            self.told.append({"at": self.since(time.time()), "what": what, **details})

    def since(self, instant: float) -> float:
        return round(instant - self.began, 2)

    def signed(self, kid: str, asked_at: float) -> None:
        if asked_at < self.signing.get(kid, float("inf")):
            self.signing[kid] = asked_at

    def behind(self, now: float, served: set[str]) -> None:
        lag = now - min((at for kid, at in self.published.items() if kid not in served), default=now)
        self.longest_jwks_lag = max(self.longest_jwks_lag, lag)

    def published_for(self, kid: str) -> float:
        """Seconds from the first sight of a key in a JWKS to its first token; negative where it came later."""
        return self.signing[kid] - self.published.get(kid, float("inf"))

    def figures(self, publish_ahead: float) -> dict[str, Any]:
        rotated = sorted(self.published_for(kid) for kid in self.signing.keys() - self.first_kids)
        numbers = {f.name: getattr(self, f.name) for f in fields(self) if f.type is int}
        return {
            "key_rotations": self.key_rotations,
            **numbers,
            "kills": self.issuer_kills + self.operator_kills,
            "keys_signed_too_early": sum(seconds < publish_ahead for seconds in rotated),
            "shortest_publication_seconds": round(rotated[0], 2) if rotated else None,
            "longest_jwks_lag_seconds": round(self.longest_jwks_lag, 2),
            "bench_lag_ms": {"p50": _part(self.lags, 0.5), "p99": _part(self.lags, 0.99), "most": _part(self.lags, 1)},
            "killed_at": [[self.since(at), who] for at, who in self.killed],
            "failures": self.told,
        }


def _part(seconds: list[float], part: float) -> float:
    """A quantile, in milliseconds."""
    ordered = sorted(seconds) or [0.0]
    return round(1000 * ordered[min(int(part * len(ordered)), len(ordered) - 1)], 1)
