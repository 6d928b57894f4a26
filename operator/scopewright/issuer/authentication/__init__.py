"""Client authentication: secrets, assertions, ServiceAccount tokens, DPoP, and the bounds on attempts."""
