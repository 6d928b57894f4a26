"""Signs access tokens with the key that signs now."""

import logging
from typing import Final

from scopewright.core.profile import allows
from scopewright.issuer.protocol.errors import unavailable
from scopewright.issuer.state.registry import Registry
from scopewright.issuer.tokens.authorise import Authorisation
from scopewright.issuer.tokens.sign import IssuedToken, Randomness, sign

log: Final = logging.getLogger(__name__)


class Signer:
    def __init__(self, registry: Registry, random: Randomness) -> None:
        self._registry = registry
        self.random = random
        self._without_key: set[str] = set()
        """Names of SigningKeys without a key that signs now; logged once."""

    def sign(self, authorisation: Authorisation, now: float) -> IssuedToken:
        """Raises OAuthError if no key signs now."""
        issuer = self._registry.require_issuer()
        name = authorisation.server.record.signing_key
        key = self._registry.keys.signing_key(name, now, issuer)
        if key is None:
            if name not in self._without_key:
                self._without_key.add(name)
                log.error("SigningKey %s has no key that signs now; check that the operator is running", name)
            raise unavailable("no signing key is active", reason="no_signing_key", retry_after=5.0)
        if not allows(issuer.profile, key.alg):
            raise unavailable("no signing key is active", reason="profile_algorithm", retry_after=30.0)
        self._without_key.discard(name)
        return sign(authorisation, key, issuer, now, self.random)
