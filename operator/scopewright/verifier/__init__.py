"""For the services that are called: a token in, its claims or a reasoned refusal out.

This room needs httpx, PyJWT and cryptography, and nothing of its neighbours.
"""

from scopewright.verifier.asgi import RequireToken, protect, require
from scopewright.verifier.bearer import bearer_token
from scopewright.verifier.check import ALGORITHMS, Policy, check
from scopewright.verifier.discovery import IssuerMismatch
from scopewright.verifier.feedcache import RevocationFeed
from scopewright.verifier.keyset import Key, KeySet
from scopewright.verifier.nonces import Nonces
from scopewright.verifier.refusals import Reason, TokenRejected, KeysUnavailable
from scopewright.verifier.replay import Replay, ReplayMemory, replay_key
from scopewright.verifier.token import Token
from scopewright.verifier.verifier import Verifier

__all__ = [
    "ALGORITHMS",
    "IssuerMismatch",
    "Key",
    "KeySet",
    "Nonces",
    "Policy",
    "Reason",
    "TokenRejected",
    "Replay",
    "ReplayMemory",
    "RequireToken",
    "RevocationFeed",
    "Token",
    "KeysUnavailable",
    "Verifier",
    "bearer_token",
    "check",
    "protect",
    "replay_key",
    "require",
]
