"""For resource servers: verifies access tokens (RFC 9068), and returns the claims or raises a refusal with a reason.

Needs httpx, PyJWT and cryptography, and no other package of Scopewright but the modules shared with `client`.
"""

from scopewright.issuer_metadata import IssuerMismatch
from scopewright.renamed import earlier_names
from scopewright.verifier.any_issuer import AnyIssuer
from scopewright.verifier.asgi import RequireToken, current_token, protect, require
from scopewright.verifier.bearer import bearer_token
from scopewright.verifier.check import ALGORITHMS, Policy, check
from scopewright.verifier.feedcache import RevocationFeed
from scopewright.verifier.introspection import Introspection, Introspector
from scopewright.verifier.keyset import Key, KeySet
from scopewright.verifier.nonces import Nonces
from scopewright.verifier.options import VerifierOptions
from scopewright.verifier.refusals import KeysUnavailable, Reason, TokenRejected
from scopewright.verifier.replay import Replay, ReplayMemory, replay_key
from scopewright.verifier.requirement import Requirement
from scopewright.verifier.resource_metadata import ResourceMetadata
from scopewright.verifier.rules import Rules, RulesInvalid
from scopewright.verifier.token import Actor, Token
from scopewright.verifier.token_verifier import TokenVerifier
from scopewright.verifier.verifier import Verifier

__all__ = [
    "ALGORITHMS",
    "Actor",
    "AnyIssuer",
    "Introspection",
    "Introspector",
    "IssuerMismatch",
    "Key",
    "KeySet",
    "KeysUnavailable",
    "Nonces",
    "Policy",
    "Reason",
    "Replay",
    "ReplayMemory",
    "RequireToken",
    "Requirement",
    "ResourceMetadata",
    "RevocationFeed",
    "Rules",
    "RulesInvalid",
    "Token",
    "TokenRejected",
    "TokenVerifier",
    "Verifier",
    "VerifierOptions",
    "bearer_token",
    "check",
    "current_token",
    "protect",
    "replay_key",
    "require",
]

__getattr__ = earlier_names(__name__, {"Rejected": TokenRejected, "Unavailable": KeysUnavailable})
