"""When to fetch a token again, and what to do meanwhile. Pure decisions: no I/O, no clock. Times are in seconds."""

from enum import Enum

from scopewright.client.errors import TokenError
from scopewright.client.mounted import Credentials
from scopewright.client.token import AccessToken

_AHEAD = 0.75  # of its life; spread by a tenth, so that a thousand Pods do not ask in the same second
_SPREAD = 0.1
_MARGIN = 5.0  # a token this near to its end may expire on the way
_BACK_OFF = (1.0, 2.0, 5.0)
_AFTER_REFUSAL = 10.0


class Need(Enum):
    NOTHING = "go on with the token there is"
    SOON = "go on, and fetch beside it"
    NOW = "fetch first"
    WAIT = "there is no token, and the last attempt failed a moment ago"


class Slot:
    """The token for one client, resource and scope, and what went wrong last."""

    def __init__(self) -> None:
        self.token: AccessToken | None = None
        self.error: TokenError | None = None
        self._credentials: Credentials | None = None
        self._refresh_at = 0.0
        self._retry_at = 0.0
        self._refused_until = 0.0
        self._failures = 0

    def need(self, now: float, credentials: Credentials) -> Need:
        if credentials != self._credentials:
            self._changed(credentials)
        if self.token is None or now >= self.token.expires_at - min(_MARGIN, self._life() / 4):
            return Need.WAIT if now < self._retry_at else Need.NOW
        return Need.NOTHING if now < max(self._refresh_at, self._retry_at) else Need.SOON

    def need_after_refusal(self, now: float, refused: AccessToken) -> Need:
        """The API says that the token is invalid: another one, but not one for each of its answers."""
        if self.token is not None and self.token is not refused:
            return Need.NOTHING  # somebody has fetched it already
        if now < max(self._refused_until, self._retry_at):
            return Need.WAIT
        self._refused_until = now + _AFTER_REFUSAL
        return Need.NOW

    def received(self, token: AccessToken, credentials: Credentials, jitter: float) -> None:
        self.token = token
        self.error = None
        self._credentials = credentials
        self._retry_at = 0.0
        self._failures = 0
        self._refresh_at = token.issued_at + self._life() * (_AHEAD + _SPREAD * jitter)

    def failed(self, error: TokenError, now: float) -> None:
        self.error = error
        self._retry_at = now + max(_BACK_OFF[min(self._failures, 2)], min(error.retry_after or 0.0, 30.0))
        self._failures += 1

    def _changed(self, credentials: Credentials) -> None:
        """A new secret ends the back-off; another client or issuer ends the token too."""
        old = self._credentials
        if old is None or (old.client_id, old.issuer) != (credentials.client_id, credentials.issuer):
            self.token = None
        self._retry_at = 0.0
        self._credentials = credentials

    def _life(self) -> float:
        return self.token.expires_at - self.token.issued_at if self.token is not None else 0.0
