"""A login by FAPI 2.0 with httpx and joserfc: private_key_jwt, a pushed request and DPoP.

It prints the URL for the browser, reads the URL that the browser comes back to, and prints what it got.
"""

import hashlib
import json
import os
import secrets
import time
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet


def secret(name: str) -> str:
    return (Path(os.environ["SCOPEWRIGHT_SECRET_DIR"]) / name).read_text().strip()


def sha256(text: str) -> str:
    return urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")


def client_assertion() -> dict[str, str]:
    key = ECKey.import_key(json.loads(secret("private_key.jwk")))  # read for each request: it rotates
    claims = {"iss": client_id, "sub": client_id, "aud": issuer, "jti": secrets.token_urlsafe()}
    times = {"iat": int(time.time()), "exp": int(time.time()) + 60}
    assertion = jwt.encode({"alg": "ES256", "kid": key.kid}, claims | times, key)
    return {
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": assertion,
    }


def proof(method: str, url: str, access_token: str) -> str:
    header = {"alg": "ES256", "typ": "dpop+jwt", "jwk": dpop_key.as_dict(private=False)}
    claims = {"htm": method, "htu": url, "iat": int(time.time()), "jti": secrets.token_urlsafe()}
    if access_token:
        claims["ath"] = sha256(access_token)
    if known := nonces.get(urlsplit(url).netloc):
        claims["nonce"] = known
    return jwt.encode(header, claims, dpop_key)


def send(method: str, url: str, form: dict[str, str] | None = None, access_token: str = "") -> Any:
    """Call an API with the access token, or an endpoint of the issuer with the form. Without a nonce, a server refuses
    the first proof and gives one: the second request has it, and an assertion of its own.
    """
    for _ in range(2):
        headers = {"DPoP": proof(method, url, access_token)}
        headers |= {"Authorization": f"DPoP {access_token}"} if access_token else {}
        answer = http.request(method, url, headers=headers, data=form and form | client_assertion())
        if new := answer.headers.get("DPoP-Nonce"):
            nonces[urlsplit(url).netloc] = new
        if "use_dpop_nonce" not in answer.headers.get("WWW-Authenticate", "") + answer.text:
            break
    return answer.raise_for_status().json()


def user_of(answer: dict[str, Any], **expected: str) -> dict[str, Any]:
    """The claims of the ID token, after its checks."""
    keys = KeySet.import_key_set(http.get(metadata["jwks_uri"]).raise_for_status().json())
    token = jwt.decode(answer["id_token"], keys, algorithms=metadata["id_token_signing_alg_values_supported"])
    required = {"iss": issuer, "aud": client_id, **expected}
    checks: dict[str, Any] = {name: {"essential": True, "value": value} for name, value in required.items()}
    jwt.JWTClaimsRegistry(leeway=10, exp={"essential": True}, **checks).validate(token.claims)
    return token.claims


http = httpx.Client()
issuer, client_id = secret("issuer"), secret("client_id")
metadata = http.get(f"{issuer}/.well-known/openid-configuration").raise_for_status().json()
dpop_key = ECKey.generate_key("P-256")  # keep it with the tokens
nonces: dict[str, str] = {}  # by host

verifier, state, nonce = (secrets.token_urlsafe(32) for _ in range(3))
request = {
    "client_id": client_id,
    "redirect_uri": os.environ["REDIRECT_URI"],
    "response_type": "code",
    "scope": "openid profile",
    "code_challenge": sha256(verifier),
    "code_challenge_method": "S256",
    "state": state,
    "nonce": nonce,
}
pushed = send("POST", metadata["pushed_authorization_request_endpoint"], request)
reference = {"client_id": client_id, "request_uri": pushed["request_uri"]}
print(f"{metadata['authorization_endpoint']}?{urlencode(reference)}", flush=True)

back = {name: values[0] for name, values in parse_qs(urlsplit(input()).query).items()}
if (back.get("state"), back.get("iss")) != (state, issuer) or "code" not in back:
    raise SystemExit(f"refused, or not the answer to this login: {back.get('error')}")
redeemed = {"grant_type": "authorization_code", "code": back["code"], "code_verifier": verifier}
tokens = send("POST", metadata["token_endpoint"], redeemed | {"redirect_uri": request["redirect_uri"]})
user = user_of(tokens, nonce=nonce)
userinfo = send("GET", metadata["userinfo_endpoint"], access_token=tokens["access_token"])
refresh = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
refreshed = user_of(send("POST", metadata["token_endpoint"], refresh), sub=user["sub"])
print(json.dumps({"type": tokens["token_type"].lower(), "user": user, "userinfo": userinfo, "refreshed": refreshed}))
