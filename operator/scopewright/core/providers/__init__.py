"""The plan for an IdentityProvider: what its manifest, Secrets and ConfigMaps give the issuer's record."""
