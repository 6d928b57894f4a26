"""Which Valkey or Redis may hold sessions, and what its errors mean."""

from typing import Final

from redis.exceptions import (
    AuthenticationError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from scopewright.core.failures import Unavailable

INFO_SECTIONS: Final = ("server", "memory", "replication", "cluster")
"""What `require_fit` needs of INFO."""
UNFIT: Final = "SessionStoreUnfit"
"""The reason of a failure that only a change of the server's settings or of the URL ends."""

_SCRIPT_FLAGS_SINCE: Final = 7
"""The version of Redis whose scripts can say that they write, so that no replica runs them."""
_PERMISSIONS: Final = (
    "evalsha, eval, getrange, set, del, time, info and ping, and scan for `scopewright users`, with the keys "
    "scopewright:sessions:NAMESPACE:* of the issuer's namespace"
)


class SessionServerUnfit(RedisError):
    """The server must not hold sessions. The message says what to do."""


def require_fit(answer: bytes) -> None:
    """Raises `SessionServerUnfit`, by the answer to `INFO` with `INFO_SECTIONS`."""
    pairs = (line.partition(":") for line in answer.decode(errors="replace").splitlines())
    info = {name: value.strip() for name, _, value in pairs}
    version, policy = info.get("redis_version", ""), info.get("maxmemory_policy", "")
    major = version.partition(".")[0]
    if not major.isdecimal() or int(major) < _SCRIPT_FLAGS_SINCE:
        raise SessionServerUnfit(
            f"the session store must be a Valkey, or a Redis 7 or later, and is {version or 'neither'}"
        )
    if info.get("cluster_enabled") != "0":
        raise SessionServerUnfit(
            "the session store must not be a Redis Cluster: pass a server that has all keys, with replicas if you like"
        )
    if info.get("role") != "master":
        raise SessionServerUnfit("the session store is a replica, which may be late: pass the address of the primary")
    if policy != "noeviction":
        raise SessionServerUnfit(
            f"the session store has maxmemory-policy {policy}, which deletes what ends sessions when memory is scarce: "
            "set noeviction, or pass another server"
        )


def failure_of(error: RedisError | OSError) -> Unavailable:
    """What an error means, without the URL and without stored content."""
    match error:
        case SessionServerUnfit():
            return Unavailable(str(error), retry_after=30.0, reason=UNFIT, refused=True)
        case OutOfMemoryError():
            message = "the session store is full: raise its maxmemory"
            return Unavailable(message, retry_after=30.0, reason="SessionStoreFull", refused=True)
        case ReadOnlyError():
            return Unavailable("the session store has become a replica: pass the address of the primary", refused=True)
        case AuthenticationError():
            return Unavailable("the session store refuses the user or the password of its URL", refused=True)
        case NoPermissionError():
            return Unavailable(f"the user of the session store must be permitted to call {_PERMISSIONS}", refused=True)
        case ResponseError():
            return Unavailable(f"the session store refused a request: {_code(error)}", refused=True)
        case _:
            return Unavailable(f"the session store is unavailable: {_kinds(error)}")


def _kinds(error: RedisError | OSError) -> str:
    """Such as `ConnectionError (SSLCertVerificationError)`: the text of an error may have parts of the URL."""
    kind, cause = type(error).__name__, error.__cause__ or error.__context__
    return f"{kind} ({type(cause).__name__})" if isinstance(cause, OSError) else kind


def _code(error: ResponseError) -> str:
    """Such as `MISCONF` or `NOREPLICAS`."""
    word = str(error).partition(" ")[0]
    return word if word.isalpha() and word.isupper() else type(error).__name__
