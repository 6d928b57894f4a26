"""Client authentication with a private key in the Secret, or with a ServiceAccount token."""

import base64
import json
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from scopewright.client import ClientCredentials, MountedSecret, SecretError, TokenError
from tests.unit.client.support import FakeClock, Mount, busy, refused

TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
VARIABLE = "SCOPEWRIGHT_SERVICE_ACCOUNT_TOKEN_FILE"


def projected(number: int, audience: Any = "https://issuer.example") -> str:
    """A ServiceAccount token with the claims that a client reads."""
    claims = {"aud": audience, "jti": str(number)}
    return jwt.encode({name: value for name, value in claims.items() if value is not None}, "k" * 32, algorithm="HS256")


@cache
def private_key(name: str, **more: str) -> str:
    """A private JWK as the operator writes it: one line of JSON."""
    key = ec.generate_private_key(ec.SECP256R1())
    members = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key))
    return json.dumps({**members, "kid": name, "alg": "ES256", "use": "sig"} | more)


def public(text: str) -> jwt.PyJWK:
    return jwt.PyJWK({name: value for name, value in json.loads(text).items() if name not in ("d", "key_ops")})


class Issuer:
    """A token endpoint that accepts assertions of its `keys`, each once, and the tokens in `tokens`."""

    def __init__(self, clock: FakeClock, *keys: str, tokens: tuple[str, ...] = ()) -> None:
        self.clock = clock
        self.keys = {public(key).key_id: public(key) for key in keys}
        self.tokens = tokens
        self.answers: list[httpx.Response] = []
        self.forms: list[dict[str, str]] = []
        self.seen: set[str] = set()
        self.claims: dict[str, Any] = {}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        form = dict(parse_qsl(request.content.decode(), strict_parsing=True))
        self.forms.append(form)
        assert "authorization" not in request.headers, "two authentication methods"
        assert form["client_assertion_type"] == TYPE
        assert form["client_id"] == "leave.leave-worker"
        if self.answers:
            return self.answers.pop(0)
        if not self._accepts(form["client_assertion"]):
            return refused("invalid_client", 401, f"not {form['client_assertion']}")
        token = {"access_token": f"token-{len(self.forms)}", "token_type": "Bearer", "expires_in": 600}
        return httpx.Response(200, json=token)

    def _accepts(self, assertion: str) -> bool:
        if self.tokens:
            return assertion in self.tokens
        key = self.keys.get(jwt.get_unverified_header(assertion).get("kid"))
        if key is None:
            return False
        # Times are checked by the test's own clock.
        parsed = jwt.PyJWS().decode(assertion, key.key, [key.algorithm_name])
        self.claims = json.loads(parsed)
        fresh = self.claims["jti"] not in self.seen and self.claims["exp"] > self.clock.instant
        self.seen.add(self.claims["jti"])
        return bool(fresh)

    def client(self) -> httpx.Client:
        return httpx.Client(transport=httpx.MockTransport(self))


@pytest.fixture
def keyed(mount: Mount) -> Mount:
    mount.write(client_secret=None, **{"private_key.jwk": private_key("one")})
    return mount


@pytest.fixture
def bare(mount: Mount) -> Mount:
    mount.write(client_secret=None)
    return mount


@pytest.fixture(autouse=True)
def no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def auth(secret: Mount | MountedSecret, issuer: Issuer) -> ClientCredentials:
    where = secret if isinstance(secret, MountedSecret) else secret.path
    return ClientCredentials(where, http=issuer.client(), clock=issuer.clock, jitter=lambda: 0.0)


def test_assertion_has_client_audience_and_one_minute_of_validity(keyed: Mount, clock: FakeClock) -> None:
    issuer = Issuer(clock, private_key("one"))
    assert auth(keyed, issuer).token_sync().value == "token-1"
    jti = issuer.claims.pop("jti")
    assert len(jti) >= 16
    assert issuer.claims == {
        "iss": "leave.leave-worker",
        "sub": "leave.leave-worker",
        "aud": "https://issuer.example",
        "iat": clock.instant,
        "exp": clock.instant + 60,
    }
    header = jwt.get_unverified_header(issuer.forms[0]["client_assertion"])
    assert (header["kid"], header["alg"]) == ("one", "ES256")
    assert issuer.forms[0]["grant_type"] == "client_credentials"


def test_every_request_has_a_new_assertion(keyed: Mount, clock: FakeClock) -> None:
    """A jti is accepted once, so a request that is retried is signed again."""
    issuer = Issuer(clock, private_key("one"))
    issuer.answers = [busy("1")]
    assert auth(keyed, issuer).token_sync().value == "token-2"
    first, second = (form["client_assertion"] for form in issuer.forms)
    assert first != second


def test_request_after_a_rotation_of_the_key_pair_succeeds(keyed: Mount, clock: FakeClock) -> None:
    """The old key pair ended before the Secret was read again: it is read, and the request retried."""
    issuer = Issuer(clock, private_key("one"))
    client = auth(MountedSecret(keyed.path, every=3600, clock=clock), issuer)
    client.token_sync()
    keyed.write(client_secret=None, **{"private_key.jwk": private_key("two")})
    issuer.keys = Issuer(clock, private_key("two")).keys
    clock.instant += 599
    assert client.token_sync().value == "token-3"
    assert [jwt.get_unverified_header(f["client_assertion"])["kid"] for f in issuer.forms] == ["one", "one", "two"]


def test_changed_authentication_method_is_used(mount: Mount, clock: FakeClock) -> None:
    """The entries of the Secret decide the method: a secret before, a key pair now."""
    secret = MountedSecret(mount.path, every=0)
    assert secret.read().client_secret == "SecretNumberOne"
    mount.write(client_secret=None, **{"private_key.jwk": private_key("one")})
    assert (secret.read().client_secret, secret.read().private_key) == (None, private_key("one"))
    assert auth(mount, Issuer(clock, private_key("one"))).token_sync()


@pytest.mark.parametrize("kind", ["RS256", "EdDSA", "no kid"])
def test_key_of_the_owner_may_have_another_algorithm(mount: Mount, clock: FakeClock, kind: str) -> None:
    """With jwks, a projected volume has the owner's key and the entries of the credential Secret."""
    members: dict[str, Any]
    if kind == "RS256":
        members = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 2048)))
    elif kind == "EdDSA":
        members = json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(ed25519.Ed25519PrivateKey.generate()))
    else:
        members = json.loads(private_key("one"))
    members.pop("kid", None)
    mount.write(client_secret=None, **{"private_key.jwk": json.dumps(members)})
    issuer = Issuer(clock)
    key = jwt.PyJWK({n: v for n, v in members.items() if n in ("kty", "crv", "x", "y", "n", "e")})
    issuer.keys = {None: key}
    assert auth(mount, issuer).token_sync()


_D = base64.urlsafe_b64encode(b"secret bytes of no key at all").decode().rstrip("=")


@pytest.mark.parametrize(
    "value",
    ["no JSON", "[]", "{}", '{"kty": "EC"}', f'{{"kty": "oct", "k": "{_D}"}}',
     f'{{"kty": "EC", "crv": "P-256", "d": "{_D}"}}', "[" * 9000,
     '{"kty": "EC", "crv": "P-256", "x": 3, "y": 4, "d": 5}'],
)  # fmt: skip
def test_malformed_key_is_refused_without_quoting_it(mount: Mount, value: str) -> None:
    mount.write(client_secret=None, **{"private_key.jwk": value})
    with pytest.raises(SecretError, match="not a private JWK") as caught:
        MountedSecret(mount.path).read()
    assert _D not in str(caught.value)


def test_public_key_is_refused(mount: Mount) -> None:
    members = {name: value for name, value in json.loads(private_key("one")).items() if name != "d"}
    mount.write(client_secret=None, **{"private_key.jwk": json.dumps(members)})
    with pytest.raises(SecretError, match="not a private JWK"):
        MountedSecret(mount.path).read()


def test_malformed_key_does_not_replace_a_valid_one(keyed: Mount) -> None:
    secret = MountedSecret(keyed.path, every=0)
    secret.read()
    keyed.write(client_secret=None, **{"private_key.jwk": "{}"})
    assert secret.read().private_key == private_key("one")


def test_renamed_keys_are_found(mount: Mount) -> None:
    mount.write(client_secret=None, PRIVATE=private_key("one"))
    assert MountedSecret(mount.path, names={"private_key.jwk": "PRIVATE"}).read().private_key == private_key("one")


def test_no_repr_or_error_contains_a_credential(keyed: Mount, clock: FakeClock) -> None:
    issuer = Issuer(clock, private_key("another"))
    with pytest.raises(TokenError) as caught:
        auth(keyed, issuer).token_sync()
    assert caught.value.error == "invalid_client"
    assert "two minutes to reach a mount" in caught.value.description
    assert "[hidden]" in caught.value.description
    assert issuer.forms[0]["client_assertion"] not in caught.value.description
    assert json.loads(private_key("one"))["d"] not in repr(MountedSecret(keyed.path).read())


@pytest.mark.parametrize("named", ["argument", "variable", "beside"])
def test_service_account_token_is_sent_as_assertion(
    bare: Mount, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    file = bare.path / "token" if named == "beside" else tmp_path / "projected"
    file.write_text(projected(1) + "\n")
    if named == "variable":
        monkeypatch.setenv(VARIABLE, str(file))
    secret = MountedSecret(bare.path, service_account_token=file if named == "argument" else None, clock=clock)
    issuer = Issuer(clock, tokens=(projected(1),))
    assert auth(secret, issuer).token_sync()
    assert issuer.forms[0]["client_assertion"] == projected(1)
    assert projected(1) not in repr(secret.read())


def test_rotated_service_account_token_is_read_again(bare: Mount, clock: FakeClock) -> None:
    file = bare.path / "token"
    file.write_text(projected(1))
    issuer = Issuer(clock, tokens=(projected(1),))
    client = auth(bare, issuer)
    client.token_sync()
    fresh = bare.path / "fresh"
    fresh.write_text(projected(2, ["https://issuer.example"]))
    fresh.replace(file)
    issuer.tokens = (projected(2, ["https://issuer.example"]),)
    clock.instant += 599
    assert client.token_sync()
    assert issuer.forms[-1]["client_assertion"] == projected(2, ["https://issuer.example"])


def test_client_secret_takes_precedence_over_a_service_account_token(mount: Mount) -> None:
    (mount.path / "token").write_text("projected-1")
    found = MountedSecret(mount.path).read()
    assert (found.client_secret, found.service_account_token) == ("SecretNumberOne", None)


def test_error_for_a_refused_service_account_has_advice(bare: Mount, clock: FakeClock) -> None:
    (bare.path / "token").write_text(projected(1))
    with pytest.raises(TokenError) as caught:
        auth(bare, Issuer(clock, tokens=("another",))).token_sync()
    assert "the token's audience is https://issuer.example" in caught.value.description
    assert projected(1) not in caught.value.description


@pytest.mark.parametrize(
    ("audience", "found"),
    [
        (["https://issuer.example", "https://kubernetes.default.svc"], "https://kubernetes.default.svc"),
        ("https://kubernetes.default.svc", "https://kubernetes.default.svc"),
        (["https://issuer.example/"], "https://issuer.example/"),
        ([], "the API server"),
        (None, "the API server"),
        ([1], "not a JWT"),
        (5, "not a JWT"),
    ],
)
def test_service_account_token_for_another_audience_is_not_sent(
    bare: Mount, clock: FakeClock, audience: Any, found: str
) -> None:
    file = bare.path / "token"
    file.write_text(projected(1, audience))
    issuer = Issuer(clock, tokens=(projected(1, audience),))
    with pytest.raises(SecretError) as caught:
        auth(bare, issuer).token_sync()
    assert str(file) in caught.value.description
    assert found in caught.value.description
    assert "serviceAccountToken: {audience: https://issuer.example}" in caught.value.description
    assert projected(1, audience) not in caught.value.description
    assert issuer.forms == []


@pytest.mark.parametrize("text", ["opaque", "a.b", "a.b.c", "é.é.é", "e30.e30", "e30." + "W1" * 5000 + ".e30"])
def test_malformed_service_account_token_is_not_sent(bare: Mount, clock: FakeClock, text: str) -> None:
    (bare.path / "token").write_text(text)
    with pytest.raises(SecretError, match="not a JWT"):
        auth(bare, Issuer(clock)).token_sync()


def test_error_for_a_missing_credential_lists_every_remedy(bare: Mount) -> None:
    with pytest.raises(SecretError, match=r"lacks client_secret and private_key.jwk, and there is no ServiceAccount"):
        MountedSecret(bare.path).read()
