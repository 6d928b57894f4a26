"""A Secret mounted into the container: one file per entry, replaced as a whole when it rotates."""

import logging
import os
import stat
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scopewright.client.clock import Clock
from scopewright.client.errors import SecretError
from scopewright.client.key import parse_private_key
from scopewright.client.service_account import require_audience
from scopewright.forks import restart_in_children

logger = logging.getLogger("scopewright.client")

_REQUIRED = ("client_id", "issuer", "token_endpoint", "jwks_uri")
_CREDENTIALS = ("client_secret", "private_key.jwk")
_OPTIONAL = ("scope", "audience")
_ENTRIES = (*_REQUIRED, *_CREDENTIALS, *_OPTIONAL)
TOKEN_FILE_VARIABLE = "SCOPEWRIGHT_SERVICE_ACCOUNT_TOKEN_FILE"  # noqa: S105 (names a file)
_MAX_BYTES = 16 * 1024
_MAX_READS = 5

Version = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class MountedCredentials:
    """The entries of one version of the Secret. `scope` and `audience` are set if the client uses one API.

    The credential is `client_secret`, `private_key` (a JWK), or `service_account_token` if the Secret has neither.
    """

    client_id: str
    issuer: str
    token_endpoint: str
    jwks_uri: str
    client_secret: str | None = field(default=None, repr=False)
    private_key: str | None = field(default=None, repr=False)
    scope: str | None = None
    audience: str | None = None
    service_account_token: str | None = field(default=None, repr=False)


class MountedSecret:
    """Reads the directory `path`, and reads it again after a change. Checks it at most once in `every` seconds.

    The kubelet swaps the symbolic link `..data` for a new version; a plain directory works too. `names` maps
    entries that the OAuthClient renames (`spec.credentials.keys`): `{"client_id": "CLIENT_ID"}`.
    `service_account_token` is the file of a projected token, which authenticates the client if the Secret holds no
    credential. It defaults to `$SCOPEWRIGHT_SERVICE_ACCOUNT_TOKEN_FILE`, or to the file `token` beside the entries.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        names: Mapping[str, str] | None = None,
        service_account_token: str | os.PathLike[str] | None = None,
        every: float = 1.0,
        clock: Clock | None = None,
    ) -> None:
        self.path = Path(path)
        self._files = {entry: (names or {}).get(entry, entry) for entry in _ENTRIES}
        if unknown := (names or {}).keys() - self._files.keys():
            raise ValueError(f"names: no such entry: {', '.join(sorted(unknown))}")
        self._token_file = Path(service_account_token or os.environ.get(TOKEN_FILE_VARIABLE) or self.path / "token")
        self._every = every
        self._clock = clock or Clock()
        self._lock = threading.Lock()
        self._checked_at: float | None = None
        self._version: Version | None = None
        self._credentials: MountedCredentials | None = None
        restart_in_children(self)

    def after_fork(self) -> None:
        """Called in a forked child: the lock may have been held by another thread of the parent."""
        self._lock = threading.Lock()

    def read(self, *, now: bool = False) -> MountedCredentials:
        """The current entries; `now=True` checks the directory even within `every` seconds.

        Raises `SecretError` if no usable version was ever read. An unusable version does not replace a usable one.
        """
        with self._lock:
            instant = self._clock.now()
            checked_at = self._checked_at
            if not now and self._credentials and checked_at is not None and 0 <= instant - checked_at < self._every:
                return self._credentials
            self._checked_at = instant
            try:
                self._follow()
            except SecretError as error:
                if self._credentials is None:
                    raise
                logger.warning("keeping the previous credentials: %s", error.description)
            assert self._credentials is not None  # noqa: S101
            return self._credentials

    def _follow(self) -> None:
        version = self._find_version()
        if self._credentials is not None and version == self._version:
            return
        for _ in range(_MAX_READS):
            try:
                found = self._load(version)
                problem = None
            except SecretError as error:
                problem = error
            after = self._find_version()
            if after == version:  # no change during the read: all entries are of one version
                if problem is not None:
                    raise problem
                self._version, self._credentials = version, found
                return
            version = after
        raise SecretError(f"{self.path} keeps changing while it is read; try again")

    def _find_version(self) -> Version:
        """Identifies a version: the target of `..data`, or inode, time and size of each file; and those of the token's
        file, which rotates independently.
        """
        token = _identity(self._token_file)
        try:
            return ("..data", str((self.path / "..data").readlink()), token)
        except OSError:
            pass
        return (*(_identity(self.path / file) for file in self._files.values()), token)

    def _load(self, version: Version) -> MountedCredentials:
        folder = self.path / str(version[1]) if version[0] == "..data" else self.path
        values = {entry: _entry(folder / file) for entry, file in self._files.items()}
        missing = [self._files[entry] for entry in _REQUIRED if values[entry] is None]
        if missing:
            raise SecretError(self._advice(missing))
        if (key := values.pop("private_key.jwk")) is not None:
            parse_private_key(key)
        proven = values["client_secret"] is not None or key is not None
        token = None if proven else _entry(self._token_file)
        if not proven and token is None:
            raise SecretError(self._advice_on_credentials())
        if token is not None:
            require_audience(token, str(values["issuer"]), self._token_file)
        return MountedCredentials(
            **{entry: value for entry, value in values.items() if value is not None},
            private_key=key,
            service_account_token=token,
        )

    def _advice(self, missing: list[str]) -> str:
        if not self.path.is_dir():
            return f"{self.path} is not a directory; mount the Secret of the OAuthClient there"
        return (
            f"{self.path} lacks {', '.join(missing)}; mount the whole Secret of an OAuthClient, "
            "see that the OAuthClient is Ready, and pass names= if it renames entries"
        )

    def _advice_on_credentials(self) -> str:
        secret, key = (self._files[entry] for entry in _CREDENTIALS)
        return (
            f"{self.path} lacks {secret} and {key}, and there is no ServiceAccount token at {self._token_file}; see "
            "that the OAuthClient is Ready, pass names= if it renames entries, or, with method ServiceAccount, project "
            "a token for the issuer and name its file"
        )


def _identity(file: Path) -> tuple[int, int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return (status.st_ino, status.st_mtime_ns, status.st_size)


def _entry(file: Path) -> str | None:
    """The text of one entry without the trailing newline, or None if there is no such file."""
    try:
        with open(file, "rb", opener=_without_blocking) as opened:  # Path.open has no opener
            if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                raise SecretError(f"{file} is not a file")
            data = opened.read(_MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except IsADirectoryError:
        what = "mount the whole Secret without subPath, or name the file itself"
        raise SecretError(f"{file} is a directory and must be a file: {what}") from None
    except OSError as error:
        raise SecretError(f"{file} cannot be read: {error.strerror}; check defaultMode and fsGroup") from None
    if len(data) > _MAX_BYTES:
        raise SecretError(f"{file} is larger than {_MAX_BYTES} bytes; this is not the Secret of an OAuthClient")
    try:
        text = data.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise SecretError(f"{file} is not text; this is not the Secret of an OAuthClient") from None
    if not text or not text.isprintable():
        raise SecretError(f"{file} is empty or holds control characters; put the value there, and nothing else")
    return text


def _without_blocking(path: str, flags: int) -> int:
    """Without O_NONBLOCK, opening a named pipe blocks until there is a writer."""
    return os.open(path, flags | os.O_NONBLOCK)
