"""For the services that call: credentials from a mounted Secret, followed as they rotate, and tokens got with them.

This room needs httpx, PyJWT and cryptography, and nothing of its neighbours.
"""

from scopewright.client.auth import ClientCredentials
from scopewright.client.clock import Clock
from scopewright.client.errors import SecretError, TokenError
from scopewright.client.mounted import MountedCredentials, MountedSecret
from scopewright.client.token import AccessToken
from scopewright.renamed import earlier_names

__all__ = [
    "AccessToken",
    "ClientCredentials",
    "Clock",
    "MountedCredentials",
    "MountedSecret",
    "SecretError",
    "TokenError",
]

__getattr__ = earlier_names(__name__, {"Credentials": MountedCredentials})
