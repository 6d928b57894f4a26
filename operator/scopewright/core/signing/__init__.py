"""The plan for a SigningKey: its keys, the JWKS that publishes them, its status."""
