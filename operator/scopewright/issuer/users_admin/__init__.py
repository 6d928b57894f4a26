"""Lists logged-in users for operators of the platform, and ends their sessions and tokens: `scopewright users`.

It runs as a process of its own beside an issuer, with the same session store, keys and rights. It serves nothing.
"""
