"""Records: the state that the operator writes into the issuer's namespace, and that issuers follow.

One Secret per client and per signing key, one ConfigMap per resource server, one for the issuer itself. A record is
identified by its type and its exact name, and has the UID of its object: a name can be used again. The JSON is
camelCase, its times RFC 3339 in UTC.
"""
