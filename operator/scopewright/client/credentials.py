"""What a client authenticates with, and the interface of the places that it is read from."""

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class MountedCredentials:
    """The entries of one version of a Secret, or the same values from elsewhere.

    The credential is one of `client_secret`, `private_key` (a JWK) and `service_account_token`. Without
    `token_endpoint`, the metadata of the issuer names it. `scope` and `audience` are set if the client uses one API.
    """

    client_id: str
    issuer: str
    token_endpoint: str | None = None
    jwks_uri: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    private_key: str | None = field(default=None, repr=False)
    scope: str | None = None
    audience: str | None = None
    service_account_token: str | None = field(default=None, repr=False)


class CredentialSource(Protocol):
    """Where credentials are read from. They may change while the process runs."""

    def read(self, *, now: bool = False) -> MountedCredentials:
        """The current credentials; `now=True` does not use what was read within the last second.

        Raises `SecretError` if there are none.
        """
