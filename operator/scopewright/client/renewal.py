"""Decides when to fetch a token again. No I/O, no clock. Times are in seconds."""

from scopewright.client.credentials import MountedCredentials
from scopewright.client.errors import TokenError
from scopewright.client.token import AccessToken
from scopewright.singleflight import RefreshDecision

_REFRESH_FRACTION = 0.75  # of its lifetime; plus up to a tenth, so that many Pods do not ask in the same second
_JITTER_FRACTION = 0.1
_MARGIN_SECONDS = 5.0  # a token this close to its end may expire during the request
_BACK_OFF_SECONDS = (1.0, 2.0, 5.0)
_MAX_BACK_OFF_SECONDS = 30.0
_REFUSAL_PAUSE_SECONDS = 10.0


class TokenRenewal:
    """The token for one client, resource and scope, and the last error."""

    def __init__(self) -> None:
        self.token: AccessToken | None = None
        self.error: TokenError | None = None
        self._credentials: MountedCredentials | None = None
        self._refresh_at = 0.0
        self._retry_at = 0.0
        self._is_refused = False
        self._refused_until = 0.0
        self._failures = 0

    def need(self, now: float, credentials: MountedCredentials) -> RefreshDecision:
        if credentials != self._credentials:
            self._changed(credentials)
        if self.token is None or now >= self.token.expires_at - min(_MARGIN_SECONDS, self._life() / 4):
            return (
                RefreshDecision.WAIT if _is_ahead(self._retry_at, now, _MAX_BACK_OFF_SECONDS) else RefreshDecision.NOW
            )
        if _is_ahead(self._retry_at, now, _MAX_BACK_OFF_SECONDS):
            return RefreshDecision.NOTHING
        if self._is_refused:
            return RefreshDecision.NOW
        is_fresh = self.token.issued_at <= now < self._refresh_at  # issued later than now: the clock was set back
        return RefreshDecision.NOTHING if is_fresh else RefreshDecision.SOON

    def refuse(self, now: float, value: str) -> None:
        """An API refused this token: the next caller fetches another one. This is rate-limited, because an API that
        refuses every token would overload the issuer.
        """
        if self._is_current(value) and not _is_ahead(self._refused_until, now, _REFUSAL_PAUSE_SECONDS):
            self._refused_until = now + _REFUSAL_PAUSE_SECONDS
            self._is_refused = True

    def discard(self, value: str) -> None:
        """This token has been revoked: no caller gets it again."""
        if self._is_current(value):
            self.token = None

    def received(self, token: AccessToken, credentials: MountedCredentials, jitter: float) -> None:
        self.token = token
        self.error = None
        self._credentials = credentials
        self._retry_at = 0.0
        self._is_refused = False
        self._failures = 0
        self._refresh_at = token.issued_at + self._life() * (_REFRESH_FRACTION + _JITTER_FRACTION * jitter)

    def failed(self, error: TokenError, now: float) -> None:
        self.error = error
        asked = min(error.retry_after or 0.0, _MAX_BACK_OFF_SECONDS)
        self._retry_at = now + max(_BACK_OFF_SECONDS[min(self._failures, 2)], asked)
        self._failures += 1

    def _is_current(self, value: str) -> bool:
        return self.token is not None and self.token.value == value

    def _changed(self, credentials: MountedCredentials) -> None:
        """A new secret ends the back-off. Another client or issuer also discards the token."""
        old = self._credentials
        if old is None or (old.client_id, old.issuer) != (credentials.client_id, credentials.issuer):
            self.token = None
            self._is_refused = False
        self._retry_at = 0.0
        self._credentials = credentials

    def _life(self) -> float:
        return self.token.expires_at - self.token.issued_at if self.token is not None else 0.0


def _is_ahead(instant: float, now: float, most: float) -> bool:
    """Whether the end of a pause of at most `most` seconds is still to come, also if the clock was set back."""
    return now < instant <= now + most
