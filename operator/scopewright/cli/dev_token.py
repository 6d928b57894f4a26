"""`scopewright dev-token`: a token of a ServiceAccount, printed or kept fresh in a file, for the issuer of `dev`."""

import sys
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Self

from scopewright.api.times import parse_duration
from scopewright.controller.local_cluster import LocalCluster
from scopewright.core.failures import Rejected
from scopewright.core.objects import Ref
from scopewright.stores.directory.atomic_files import checked, replace_file
from scopewright.stores.directory.state_dir import StateDirectory

MAX_LIFETIME: Final = timedelta(hours=24)
"""The issuer accepts no token with a longer one."""
_RENEWED_AFTER: Final = 0.8
"""The part of its lifetime after which the kubelet replaces a token."""
_MAX_RETRY_SECONDS: Final = 10.0
_RETRIES: Final = 10
"""At least, from the first failed renewal to the end of the token."""
_POLL_SECONDS: Final = 1.0
"""A laptop may sleep for longer than the lifetime: the clock is read this often."""


@dataclass(frozen=True, slots=True)
class AccountToken:
    account: Ref
    state: Path
    lifetime: timedelta

    @classmethod
    def parse(cls, account: str, state: Path, duration: str) -> Self:
        """Raise `Rejected` for a malformed argument."""
        namespace, slash, name = account.partition("/")
        if not slash:
            raise Rejected(
                "BadServiceAccount", f"{account!r} is not NAMESPACE/SERVICEACCOUNT, such as leave/leave-worker"
            )
        try:
            lifetime = parse_duration(duration)
        except ValueError as error:
            raise Rejected("BadDuration", f"--duration {duration}: {error}") from None
        if not timedelta(seconds=1) <= lifetime <= MAX_LIFETIME:
            raise Rejected("BadDuration", f"--duration {duration}: pass a duration from 1s to 24h")
        return cls(checked(Ref("ServiceAccount", namespace, name)), state, lifetime)

    def token(self) -> str:
        """Return a new token for the issuer of STATE. Raise `Rejected` if `dev` has not made STATE."""
        cluster = LocalCluster.read(self.state)
        return cluster.token(self.account, self._issuer(), self.lifetime, datetime.now(UTC))

    def described(self) -> str:
        """Return whose token it is, and for which issuer of which directory. Raise `Rejected` as `token` does."""
        account = f"{self.account.namespace}/{self.account.name}"
        return f"a token of {account} for {self._issuer()}, the issuer of --state {self.state}"

    def _issuer(self) -> str:
        return StateDirectory.open_readonly(self.state).issuer


def keep_fresh(
    request: AccountToken,
    file: Path,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Write a token to the file, and replace it in one step before it expires, until the process is stopped.

    A failed renewal is repeated until the token in the file ends; then `Rejected` is raised, as for the first token.
    """
    sys.stderr.write(f"keeping {request.described()}, fresh in {file}\n")
    lifetime = request.lifetime.total_seconds()
    pause = min(_MAX_RETRY_SECONDS, lifetime * (1 - _RENEWED_AFTER) / _RETRIES)
    renew_at = expires_at = clock()
    reported = False
    while True:
        while (now := clock()) < renew_at:
            sleep(min(_POLL_SECONDS, renew_at - now))
        try:
            _write(file, request.token())
        except Rejected as error:
            if now >= expires_at:
                raise
            if not reported:
                sys.stderr.write(f"scopewright: {error.message}; retrying until the token in {file} ends\n")
            reported, renew_at = True, min(now + pause, expires_at)
        else:
            reported, renew_at, expires_at = False, now + lifetime * _RENEWED_AFTER, now + lifetime


def _write(file: Path, token: str) -> None:
    spare = file.parent / f".{uuid.uuid4().hex}"
    try:
        replace_file(file, token.encode(), spare)
    except OSError as error:
        with suppress(OSError):
            spare.unlink()
        raise Rejected("CannotWrite", f"--watch {file} cannot be written: {error.strerror}") from None
