"""Attacks of `tests/cases` that a library accepts, by name, with the libraries.

All of them have a valid signature: other spellings of a signed token, or payloads that the issuer itself would have to
sign. Numbers of five or more digits in names are N.
"""

from typing import Final

TOLERATED: Final[dict[str, str]] = {
    # Other spellings of the signature, or of the signed text.
    "spelling: =": "nimbus spring",
    "spelling: ==": "jose nimbus spring pyjwt",
    "spelling: !": "nimbus",
    "spelling: a space": "nimbus",
    "spelling: unused bits": "go-oidc jose nimbus spring",
    "spelling: a space after the header, signed": "nimbus",
    "spelling: a space after the payload, signed": "nimbus",
    "spelling: padding after the header, signed": "nimbus",
    "spelling: padding after the payload, signed": "jose nimbus pyjwt",
    "shape: huge, a claim": "go-oidc nimbus pyjwt",
    # JSON that is invalid or ambiguous.
    "JSON: Infinity": "pyjwt",
    "JSON: NaN": "pyjwt",
    "JSON: Latin-1": "go-oidc nimbus spring",
    "JSON: UTF-16": "pyjwt",
    "JSON: a byte order mark": "jose nimbus spring pyjwt",
    "JSON: a lone surrogate": "go-oidc jose nimbus spring pyjwt",
    "JSON: a number of 5000 digits": "go-oidc jose",
    "JSON: exp beyond numbers": "jose",
    "twice: claim, equal": "go-oidc jose pyjwt",
    "twice: claim, in a list": "go-oidc jose nimbus spring pyjwt",
    "twice: claim, nested": "go-oidc jose nimbus spring pyjwt",
    "twice: kid": "jose pyjwt",
    # Header members.
    "kid None": "go-oidc jose nimbus spring",
    "kid ''": "go-oidc",
    'extension {"b64": false}': "jose",
    'extension {"b64": true}': "go-oidc jose nimbus spring pyjwt",
    'extension {"crit": []}': "go-oidc nimbus spring",
    # Claims of a wrong type, and times.
    "iss 'HTTP://127.0.0.1:N'": "spring",
    "aud as ['https://payroll-api.payroll.svc', 1]": "jose",
    "exp as 'N'": "go-oidc pyjwt",
    "exp as N": "jose pyjwt",
    "iat +400.5 s": "go-oidc jose nimbus spring",
    "iat +401 s": "go-oidc jose nimbus spring",
    "iat +N s": "go-oidc jose nimbus",  # after exp: Spring refuses it
    "iat as 'N'": "go-oidc",
    "iat as -1": "go-oidc jose nimbus spring pyjwt",
    "iat as N": "go-oidc jose nimbus spring",
    "iat as True": "pyjwt",
    "nbf as -1": "go-oidc jose nimbus spring pyjwt",
    "nbf as N": "go-oidc nimbus spring",
    "nbf as True": "pyjwt",
    "no sub": "go-oidc",
    "sub as ''": "go-oidc jose nimbus spring pyjwt",
    "sub as 0": "jose nimbus spring",
    "sub as True": "jose",
    "sub as ['leave.leave-worker']": "jose",
    "sub as {'id': 'leave.leave-worker'}": "jose",
    "client_id as ''": "jose nimbus spring pyjwt",
    "client_id as 0": "jose spring pyjwt",
    "client_id as True": "jose spring pyjwt",
    "client_id as ['leave.leave-worker']": "jose spring pyjwt",
    "client_id as {'id': 'leave.leave-worker'}": "jose spring pyjwt",
}


def tolerated_by(library: str) -> set[str]:
    return {attack for attack, libraries in TOLERATED.items() if library in libraries.split()}
