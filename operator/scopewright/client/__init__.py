"""For clients: finds credentials, follows their rotation, and requests tokens with them.

Needs httpx, PyJWT and cryptography, and no other package of Scopewright but the modules shared with `verifier`.
"""

from scopewright.client.auth import ClientCredentials, ClientOptions
from scopewright.client.clock import Clock
from scopewright.client.credentials import CredentialSource, MountedCredentials
from scopewright.client.errors import SecretError, TokenError
from scopewright.client.mounted import MountedSecret
from scopewright.client.token import AccessToken
from scopewright.renamed import earlier_names

__all__ = [
    "AccessToken",
    "ClientCredentials",
    "ClientOptions",
    "Clock",
    "CredentialSource",
    "MountedCredentials",
    "MountedSecret",
    "SecretError",
    "TokenError",
]

__getattr__ = earlier_names(__name__, {"Credentials": MountedCredentials})
