"""The reasons of the gateway itself for refusing a request. All others are those of the verifier."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class GatewayReason(StrEnum):
    """A label for metrics and the audit log, beside `verifier.refusals.Reason`."""

    PROXY_HEADERS = "proxy_headers"
    """The configuration of the proxy is wrong."""
    HOSTNAME = "hostname"
    NO_API = "no_api"
    """No API has the hostname and path, or its ResourceServer is deleted or cannot be read."""
    AMBIGUOUS_CASE = "ambiguous_case"


ADVICE: Final[Mapping[GatewayReason, str]] = {
    GatewayReason.PROXY_HEADERS: "The proxy does not send {}; correct the configuration of the proxy",
    GatewayReason.HOSTNAME: "The hostname is not a DNS name; send one without a trailing dot, user and IP address",
    GatewayReason.NO_API: "No API is declared for this hostname and path; declare it in spec.http of a ResourceServer",
    GatewayReason.AMBIGUOUS_CASE: "The path leads to another API in another case; send it in the declared case",
}
"""What to do. `{}` is what the profile of the proxy reads."""


def code_of(reason: GatewayReason) -> tuple[int, str | None]:
    """HTTP status, and error code (RFC 6750 §3.1)."""
    return (403, None) if reason is GatewayReason.NO_API else (400, "invalid_request")


class GatewayRefused(Exception):
    """The request is refused whatever its token is. `status`, `error` and `description` as of `TokenRejected`."""

    def __init__(self, reason: GatewayReason, expected: str = "") -> None:
        self.reason = reason
        self.status, self.error = code_of(reason)
        self.description = ADVICE[reason].format(expected)
        super().__init__(self.description)
