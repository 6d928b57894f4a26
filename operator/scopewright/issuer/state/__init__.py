"""The records that the issuer follows, in memory."""
