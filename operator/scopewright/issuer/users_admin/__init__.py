"""What operators of the platform see of logged-in users, and how they end it: `scopewright users`.

It runs as a process of its own beside an issuer, with the same session store, keys and rights. It serves nothing.
"""
