"""The reasons of the gateway itself for refusing a request. All others are those of the verifier."""

from enum import StrEnum
from typing import Final


class GatewayReason(StrEnum):
    """A label for metrics and the audit log, beside `verifier.refusals.Reason`."""

    PROXY_HEADERS = "proxy_headers"
    """The proxy does not pass what its profile reads: its configuration is wrong."""
    HOSTNAME = "hostname"
    NO_API = "no_api"
    """No API has the hostname and path, or its ResourceServer is deleted or cannot be read."""
    AMBIGUOUS_CASE = "ambiguous_case"


_STATUS: Final = {GatewayReason.NO_API: 403}
_ADVICE: Final = {
    GatewayReason.HOSTNAME: "The hostname is not a DNS name; send one without a trailing dot, user and IP address",
    GatewayReason.NO_API: "No API is declared for this hostname and path; declare it in spec.http of a ResourceServer",
    GatewayReason.AMBIGUOUS_CASE: "The path leads to another API in lower case; send it as the API declares it",
}


class GatewayRefused(Exception):
    """The request is refused whatever its token is. `status`, `error` and `description` as of `TokenRejected`."""

    def __init__(self, reason: GatewayReason, description: str = "") -> None:
        self.reason = reason
        self.status = _STATUS.get(reason, 400)
        self.error = "invalid_request" if self.status == 400 else None
        self.description = description or _ADVICE[reason]
        super().__init__(self.description)
