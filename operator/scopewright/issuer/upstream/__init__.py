"""Who logs users in: OpenID providers, and the issuer's own static users. Nothing here knows pages or sessions."""
