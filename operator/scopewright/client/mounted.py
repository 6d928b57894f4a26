"""A Secret mounted into the container: one file per entry, replaced as a whole when it rotates."""

import os
from collections.abc import Mapping
from pathlib import Path

from scopewright.client.clock import Clock
from scopewright.client.credentials import MountedCredentials
from scopewright.client.errors import SecretError
from scopewright.client.files import FollowedFiles, Version, identity, is_directory, read_entry
from scopewright.client.key import parse_private_key
from scopewright.client.service_account import require_audience

_REQUIRED = ("client_id", "issuer")
_CREDENTIALS = ("client_secret", "private_key.jwk")
_OPTIONAL = ("token_endpoint", "jwks_uri", "scope", "audience")
_ENTRIES = (*_REQUIRED, *_CREDENTIALS, *_OPTIONAL)
TOKEN_FILE_VARIABLE = "SCOPEWRIGHT_SERVICE_ACCOUNT_TOKEN_FILE"  # noqa: S105 (names a file)


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
        self._entry_files = {entry: (names or {}).get(entry, entry) for entry in _ENTRIES}
        if unknown := (names or {}).keys() - self._entry_files.keys():
            raise ValueError(f"names: no such entry: {', '.join(sorted(unknown))}")
        self._token_file = Path(service_account_token or os.environ.get(TOKEN_FILE_VARIABLE) or self.path / "token")
        self._files = FollowedFiles(str(self.path), self._find_version, self._load, every, clock or Clock())

    def read(self, *, now: bool = False) -> MountedCredentials:
        """The current entries; `now=True` checks the directory even within `every` seconds.

        Raises `SecretError` if no usable version was ever read. An unusable version does not replace a usable one.
        """
        return self._files.read(now=now)

    def _find_version(self) -> Version:
        """Identifies a version: the target of `..data`, or inode, time and size of each file; and those of the token's
        file, which rotates independently.
        """
        token = identity(self._token_file)
        try:
            return ("..data", str((self.path / "..data").readlink()), token)
        except OSError:
            pass
        return (*(identity(self.path / file) for file in self._entry_files.values()), token)

    def _load(self, version: Version) -> MountedCredentials:
        folder = self.path / str(version[1]) if version[0] == "..data" else self.path
        values = {entry: read_entry(folder / file) for entry, file in self._entry_files.items()}
        missing = [self._entry_files[entry] for entry in _REQUIRED if values[entry] is None]
        if missing:
            raise SecretError(self._advice(missing))
        if (key := values.pop("private_key.jwk")) is not None:
            parse_private_key(key)
        proven = values["client_secret"] is not None or key is not None
        token = None if proven else read_entry(self._token_file)
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
        if not is_directory(self.path):
            return f"{self.path} is not a directory; mount the Secret of the OAuthClient there"
        return (
            f"{self.path} lacks {', '.join(missing)}; mount the whole Secret of an OAuthClient, "
            "see that the OAuthClient is Ready, and pass names= if it renames entries"
        )

    def _advice_on_credentials(self) -> str:
        secret, key = (self._entry_files[entry] for entry in _CREDENTIALS)
        return (
            f"{self.path} lacks {secret} and {key}, and there is no ServiceAccount token at {self._token_file}; see "
            "that the OAuthClient is Ready, pass names= if it renames entries, or, with method ServiceAccount, project "
            "a token for the issuer and name its file"
        )
