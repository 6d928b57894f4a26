"""One process for Authlib and joserfc: a job as JSON on standard input, the results as JSON on standard output.

Authlib does not form-encode the halves of Basic credentials, unlike the others.
"""

import contextlib
import json
import os
import sys
from collections.abc import Callable
from typing import Any, Final

import httpx

os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"  # http, on loopback

from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.httpx_client import OAuth2Client
from authlib.oauth2.rfc6750 import InvalidTokenError
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata, get_well_known_url
from authlib.oauth2.rfc9068 import JWTBearerTokenValidator
from joserfc import jwk, jws
from joserfc.errors import JoseError

from tests.interop.served import TOKEN_EXCHANGE_GRANT, Capability

Json = dict[str, Any]
_ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"


class Authlib:
    def __init__(self, job: Json) -> None:
        self.job = job
        self.metadata = self._metadata("oauth-authorization-server")
        self.capabilities: dict[str, Callable[[], Json]] = {
            Capability.OAUTH_DISCOVERY: lambda: self._discovery("oauth-authorization-server"),
            Capability.OPENID_DISCOVERY: lambda: self._discovery("openid-configuration"),
            Capability.CLIENT_SECRET_BASIC: lambda: self._token("worker"),
            Capability.CLIENT_SECRET_POST: lambda: self._token("worker", "client_secret_post"),
            Capability.PRIVATE_KEY_JWT: self._private_key_jwt,
            Capability.REFUSALS: self._refusals,
            Capability.ACCESS_TOKEN: self._access_token,
            Capability.INTROSPECTION: self._introspection,
            Capability.REVOCATION: self._revocation,
            Capability.TOKEN_EXCHANGE: self._token_exchange,
        }

    def _metadata(self, suffix: str) -> Any:
        return httpx.get(get_well_known_url(self.job["issuer"], external=True, suffix=suffix)).json()

    def _discovery(self, suffix: str) -> Json:
        """The document, and the members that Authlib's model of RFC 8414 does not take."""
        model = AuthorizationServerMetadata(self._metadata(suffix))
        missed = []
        for name in model.REGISTRY_KEYS:
            try:
                getattr(model, f"validate_{name}")()
            except ValueError:
                missed.append(name)
        return {**model, "missed": missed}

    def _client(self, name: str, method: str = "client_secret_basic", secret: Any = None) -> OAuth2Client:
        who = self.job["clients"][name]
        client = OAuth2Client(who["id"], secret or who["secret"], token_endpoint_auth_method=method)
        client.register_client_auth_method(PrivateKeyJWT(self.job["issuer"], alg="ES256"))
        return client

    def _ask(self, client: OAuth2Client, **parameters: str) -> Json:
        asked = {"grant_type": "client_credentials", "resource": self.job["audience"], **parameters}
        return dict(client.fetch_token(self.metadata["token_endpoint"], **asked))

    def _token(self, name: str, method: str = "client_secret_basic") -> Json:
        return self._ask(self._client(name, method))

    def _private_key_jwt(self) -> Json:
        key = jwk.ECKey.import_key(self.job["clients"]["assertion"]["jwk"])
        return self._ask(self._client("assertion", "private_key_jwt", key))

    def _refusals(self) -> Json:
        return {
            "basic": self._refused(self._client("worker", secret="wrong")),
            "post": self._refused(self._client("worker", "client_secret_post", "wrong")),
            "scope": self._refused(self._client("worker"), scope="payroll.destroy"),
        }

    def _refused(self, client: OAuth2Client, **parameters: str) -> Json:
        try:
            self._ask(client, **parameters)
        except OAuthError as error:
            return {"error": error.error}
        raise AssertionError("not refused")

    def _access_token(self) -> Json:
        return {
            algorithm: self._validated(self.job["tokens"][algorithm], audience)
            for algorithm, audience in self.job["algorithms"].items()
        }

    def _validated(self, token: str, audience: str) -> Json:
        metadata = self.metadata

        class OfTheIssuer(JWTBearerTokenValidator):
            def get_jwks(self) -> Any:
                return httpx.get(metadata["jwks_uri"]).json()

        validator: Any = OfTheIssuer(self.job["issuer"], audience)  # type: ignore[no-untyped-call]
        try:
            claims = validator.authenticate_token(token)
            validator.validate_token(claims, ["payroll.read"], None)
        except InvalidTokenError as error:
            return {"error": f"{error.__cause__ or error}"}
        return dict(claims)

    def _introspection(self) -> Json:
        token = self._token("worker")["access_token"]
        client, url = self._client("server"), self.metadata["introspection_endpoint"]
        return {
            "active": client.introspect_token(url, token).json(),
            "unknown": client.introspect_token(url, "unknown").json(),
        }

    def _revocation(self) -> Json:
        token = self._token("worker")["access_token"]
        for each in (token, "unknown"):
            answer = self._client("worker").revoke_token(self.metadata["revocation_endpoint"], each)
            assert answer.status_code == 200, answer.text
        return {"access_token": token}

    def _token_exchange(self) -> Json:
        subject = self._token("worker")["access_token"]
        return self._ask(
            self._client("server"),
            grant_type=TOKEN_EXCHANGE_GRANT,
            subject_token=subject,
            subject_token_type=_ACCESS_TOKEN,
            resource=self.job["target"],
        )


def sign(given: Json) -> Json:
    """Keys made and exported by joserfc; a payload is signed as the text that it is, good JSON or not."""
    made, published = {}, []
    for each in given["keys"]:
        made[each["name"]] = key = _generate(each["alg"], each.get("kid"))
        if each.get("kid"):
            published.append(key.as_dict(private=False))
    tokens: Json = {}
    for each in given["tokens"]:
        header = each["header"]
        registry = jws.JWSRegistry(algorithms=[header["alg"]], strict_check_header=False)
        try:
            value = jws.serialize_compact(header, each["payload"].encode(), made[each["key"]], registry=registry)
            tokens[each["name"]] = {"token": value}
        except (JoseError, ValueError) as error:
            tokens[each["name"]] = {"error": str(error)}
    return {"jwks": {"keys": published}, "tokens": tokens}


def _generate(alg: str, kid: str | None) -> jwk.Key:
    known: jwk.KeyParameters | None = {"kid": kid, "alg": alg, "use": "sig"} if kid else None
    match alg:
        case "ES256":
            return jwk.ECKey.generate_key("P-256", known)
        case "ES384":
            return jwk.ECKey.generate_key("P-384", known)
        case "EdDSA":
            return jwk.OKPKey.generate_key("Ed25519", known)
        case "HS256":
            return jwk.OctKey.generate_key(256)
        case _:
            return jwk.RSAKey.generate_key(2048, known)


def main() -> None:
    job = json.load(sys.stdin)
    results = []
    with contextlib.redirect_stdout(sys.stderr):
        authlib = Authlib(job) if job.get("tasks") else None
        for task in job.get("tasks", ()):
            assert authlib is not None
            try:
                results.append({**task, "output": authlib.capabilities[task["capability"]]()})
            except Exception as error:
                results.append({**task, "error": f"{type(error).__name__}: {error}"})
        signed = sign(job["sign"]) if "sign" in job else None
    json.dump({"results": results, "signed": signed}, sys.stdout)


if __name__ == "__main__":
    main()
