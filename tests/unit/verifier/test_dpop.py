"""Bound tokens and proofs (RFC 9449 §7): neither is of use to a thief."""

import asyncio
import hashlib
import json
import threading
from collections.abc import Sequence
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from scopewright.verifier import KeysUnavailable, Nonces, Reason, ReplayMemory, Token, TokenRejected, Verifier
from scopewright.verifier.proof import LIFETIME, MAX_BYTES, BadProof, check_proof
from tests.harness.clock import Clock
from tests.unit.verifier.support import (
    AUDIENCE,
    HOLDER,
    ISSUER,
    KEY,
    NOW,
    OTHER,
    URL,
    FakeIssuer,
    b64,
    bound_token,
    claims,
    proof,
    raw_token,
    token,
)

THIEF = OTHER
NONCES = Nonces(b"n" * 32, "payroll")


class Service:
    """A verifier, and requests to it for `GET URL`."""

    def __init__(self, **settings: Any) -> None:
        self.clock = Clock()
        self.web = FakeIssuer(KEY)
        self.verifier = Verifier(ISSUER, AUDIENCE, http=self.web.async_client(), clock=self.clock, **settings)

    async def verify(self, sent: str, proofs: str | Sequence[str] | None, method: str = "GET", url: str = URL) -> Token:
        return await self.verifier.verify(sent, proof=proofs, method=method, url=url)

    async def refusal(self, sent: str, proofs: str | Sequence[str] | None, **request: str) -> TokenRejected:
        with pytest.raises(TokenRejected) as caught:
            await self.verify(sent, proofs, **request)
        return caught.value

    async def reason(self, sent: str, proofs: str | Sequence[str] | None, **request: str) -> Reason:
        return (await self.refusal(sent, proofs, **request)).reason


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def bound() -> str:
    return bound_token()


async def test_bound_token_with_a_proof_of_its_key_is_accepted(service: Service, bound: str) -> None:
    assert (await service.verify(bound, proof(bound))).client_id == "leave.leave-worker"
    assert (await service.verify(bound, [proof(bound)])).jkt is not None


async def test_bound_token_without_a_proof_is_refused_even_if_cached(service: Service, bound: str) -> None:
    for _ in range(2):
        assert await service.reason(bound, None) is Reason.SENDER_CONSTRAINED
        assert await service.reason(bound, []) is Reason.PROOF
        assert service.verifier.cached(bound) is None
        await service.verify(bound, proof(bound))


async def test_proof_is_checked_at_every_use_and_the_token_once(service: Service, bound: str) -> None:
    await service.verify(bound, proof(bound))
    checked = service.verifier._check
    service.verifier._check = None  # type: ignore[method-assign, assignment]
    await service.verify(bound, proof(bound))
    assert await service.reason(bound, proof(bound, THIEF)) is Reason.PROOF_KEY
    assert await service.reason(bound, proof(bound, htm="POST")) is Reason.PROOF
    service.verifier._check = checked  # type: ignore[method-assign]
    service.clock.advance(seconds=700)
    assert await service.reason(bound, proof(bound, iat=NOW + 700)) is Reason.EXPIRED


async def test_unbound_token_with_a_proof_is_refused(service: Service) -> None:
    sent = token()
    assert await service.reason(sent, proof(sent)) is Reason.NOT_BOUND
    assert (await service.verify(sent, None)).jkt is None


async def test_only_bound_tokens_are_accepted_if_dpop_is_required(bound: str) -> None:
    service = Service(dpop_required=True)
    sent = token()
    for _ in range(2):
        assert await service.reason(sent, None) is Reason.PROOF_NEEDED
        assert await service.reason(sent, proof(sent)) is Reason.PROOF_NEEDED
        assert service.verifier.cached(sent) is None
    assert await service.reason(bound, None) is Reason.SENDER_CONSTRAINED
    assert await service.verify(bound, proof(bound))


@pytest.mark.parametrize(
    "cnf", [{}, None, 7, "x", {"jkt": ""}, {"jkt": 7}, {"jkt": "x", "x5t#S256": "y"}, {"x5t#S256": "y"}]
)
async def test_token_with_an_unknown_confirmation_is_refused(service: Service, cnf: Any) -> None:
    header = json.dumps({"typ": "at+jwt", "alg": "ES256", "kid": KEY.kid})
    sent = raw_token(header, json.dumps(claims() | {"cnf": cnf}))
    assert await service.reason(sent, proof(sent)) is Reason.SENDER_CONSTRAINED


# Attacks


async def test_proof_of_another_key_is_refused(service: Service, bound: str) -> None:
    refusal = await service.refusal(bound, proof(bound, THIEF))
    assert (refusal.reason, refusal.status, refusal.error) == (Reason.PROOF_KEY, 401, "invalid_token")


async def test_replayed_proof_is_refused_until_it_expires(service: Service, bound: str) -> None:
    sent = proof(bound)
    await service.verify(bound, sent)
    assert "used before" in str(await service.refusal(bound, sent))
    service.clock.advance(seconds=60 + LIFETIME - 0.1)
    assert "used before" in str(await service.refusal(bound, sent))
    service.clock.advance(seconds=0.1)
    assert "not now" in str(await service.refusal(bound, sent))


async def test_same_jti_of_another_client_is_accepted(service: Service, bound: str) -> None:
    await service.verify(bound, proof(bound, jti="1"))
    other = bound_token(THIEF, client_id="leave.other", sub="leave.other")
    await service.verify(other, proof(other, THIEF, jti="1"))
    assert await service.reason(bound, proof(bound, jti="1")) is Reason.PROOF


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"htm": "POST"}, "method"),
        ({"htm": "get"}, "method"),
        ({"htm": None}, "method"),
        ({"htm": ["GET"]}, "method"),
        ({"htu": "https://payroll.hr.example/salaries/8"}, "URL"),
        ({"htu": "https://evil.example/salaries/7"}, "URL"),
        ({"htu": "http://payroll.hr.example/salaries/7"}, "URL"),
        ({"htu": URL + "/"}, "URL"),
        ({"htu": None}, "URL"),
        ({"htu": "/salaries/7"}, "URL"),
        ({"htu": [URL]}, "URL"),
        ({"htu": "https://payroll.hr.example:8443/salaries/7"}, "URL"),
        ({"ath": None}, "ath"),
        ({"ath": ""}, "ath"),
        ({"ath": 7}, "ath"),
        ({"jti": None}, "jti"),
        ({"jti": ""}, "jti"),
        ({"jti": 7}, "jti"),
        ({"jti": "x" * 257}, "jti"),
        ({"iat": None}, "iat"),
        ({"iat": "1"}, "iat"),
        ({"iat": True}, "iat"),
        ({"iat": -1}, "iat"),
        ({"iat": 1e300}, "iat"),
        ({"iat": NOW - 60 - LIFETIME}, "not now"),
        ({"iat": NOW + 60.1}, "not now"),
        ({"iat": 0}, "not now"),
        ({"nonce": 7}, "nonce"),
        ({"nonce": "x" * 257}, "nonce"),
    ],
)
async def test_wrong_claim_of_a_proof_is_refused(
    service: Service, bound: str, changes: dict[str, Any], message: str
) -> None:
    refusal = await service.refusal(bound, proof(bound, **changes))
    assert (refusal.reason, refusal.status, refusal.error) == (Reason.PROOF, 401, "invalid_dpop_proof")
    assert message in refusal.description


@pytest.mark.parametrize(
    "changes",
    [
        {"iat": NOW - 60 - LIFETIME + 0.1},
        {"iat": NOW + 60},
        {"htu": URL + "?x=1#y"},
        {"htu": "HTTPS://payroll.hr.example:443/x/../salaries/%37"},
        {"exp": 1},
        {"nonce": "x"},
    ],
)
async def test_proof_with_equivalent_url_or_additional_claims_is_accepted(
    service: Service, bound: str, changes: dict[str, Any]
) -> None:
    assert await service.verify(bound, proof(bound, **changes), url=URL + "?year=2027")


async def test_proof_for_another_token_is_refused(service: Service, bound: str) -> None:
    other = bound_token(scope="payroll.write")
    assert "ath" in str(await service.refusal(bound, proof(other)))
    assert "ath" in str(await service.refusal(bound, proof(None)))


PRIVATE = {"d": "x", "p": "x", "q": "x", "dp": "x", "dq": "x", "qi": "x", "oth": [], "k": "x"}
JWK = {name: HOLDER.jwk[name] for name in ("kty", "crv", "x", "y")}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"typ": "at+jwt"}, "typ"),
        ({"typ": "JWT"}, "typ"),
        ({"typ": None}, "typ"),
        ({"typ": "application/dpop+jwt"}, "typ"),
        ({"alg": "none"}, "alg"),
        ({"alg": "HS256"}, "alg"),
        ({"alg": "ES512"}, "alg"),
        ({"alg": None}, "alg"),
        ({"alg": ["ES256"]}, "alg"),
        ({"alg": "ES384"}, "does not fit"),
        ({"alg": "RS256"}, "does not fit"),
        ({"alg": "EdDSA"}, "does not fit"),
        ({"crit": ["exp"]}, "critical"),
        ({"b64": False}, "critical"),
        ({"jwk": None}, "public key"),
        ({"jwk": "x"}, "public key"),
        ({"jwk": [JWK]}, "public key"),
        ({"jwk": {}}, "does not fit"),
        *(({"jwk": JWK | {name: value}}, "private") for name, value in PRIVATE.items()),
        ({"jwk": {"kty": "oct", "k": "AAAA"}}, "private"),
        ({"jwk": JWK | {"x": None}}, "lacks"),
        ({"jwk": JWK | {"x": 7}}, "lacks"),
        ({"jwk": JWK | {"y": JWK["x"]}}, "not a public key"),
        ({"jwk": JWK | {"x": JWK["x"][:-2]}}, "not a public key"),
        ({"jwk": JWK | {"x": "A" * 700}}, "larger"),
        ({"jwk": {name: OTHER.jwk[name] for name in JWK}}, "does not verify"),
        ({"jwk": JWK | {"alg": "ES384"}}, "alg of its jwk"),
        ({"jwk": JWK | {"alg": "EdDSA"}}, "alg of its jwk"),
        ({"jwk": JWK | {"alg": None}}, "alg of its jwk"),
        ({"jwk": JWK | {"alg": ["ES256"]}}, "alg of its jwk"),
        ({"jwk": JWK | {"use": "enc"}}, "use of its jwk"),
        ({"jwk": JWK | {"use": 7}}, "use of its jwk"),
        ({"jwk": JWK | {"key_ops": []}}, "key_ops"),
        ({"jwk": JWK | {"key_ops": ["sign"]}}, "key_ops"),
        ({"jwk": JWK | {"key_ops": "verify"}}, "key_ops"),
        ({"jwk": JWK | {"key_ops": None}}, "key_ops"),
    ],
)
async def test_wrong_header_of_a_proof_is_refused(
    service: Service, bound: str, header: dict[str, Any], message: str
) -> None:
    refusal = await service.refusal(bound, proof(bound, header=header))
    assert (refusal.reason, refusal.error) == (Reason.PROOF, "invalid_dpop_proof")
    assert message in refusal.description


@pytest.mark.parametrize(
    "members", [{"alg": "ES256"}, {"use": "sig"}, {"key_ops": ["verify"]}, {"key_ops": ["verify", "sign"], "ext": True}]
)
async def test_proof_key_with_alg_use_or_key_ops_is_accepted(
    service: Service, bound: str, members: dict[str, Any]
) -> None:
    assert await service.verify(bound, proof(bound, header={"jwk": JWK | members}))


async def test_proof_algorithms_can_be_restricted(bound: str) -> None:
    web = FakeIssuer(KEY)
    restricted = Verifier(
        ISSUER, AUDIENCE, http=web.async_client(), clock=Clock(), dpop_algorithms=("PS256", "EdDSA"), dpop_required=True
    )
    with pytest.raises(TokenRejected) as refused:
        await restricted.verify(bound, proof=proof(bound), method="GET", url=URL)
    assert refused.value.reason is Reason.PROOF
    assert "PS256, EdDSA" in refused.value.description
    assert 'algs="PS256 EdDSA"' in refused.value.www_authenticate
    for wrong in ((), ("HS256",), "none"):
        with pytest.raises(ValueError, match="dpop_algorithms"):
            Verifier(ISSUER, AUDIENCE, dpop_algorithms=wrong)


def public_members(key: Any) -> dict[str, str]:
    """The required members of its public JWK (RFC 7638 §3.2), by PyJWT."""
    libraries: dict[type, Any] = {rsa.RSAPrivateKey: RSAAlgorithm, ec.EllipticCurvePrivateKey: ECAlgorithm}
    library = next((of for kind, of in libraries.items() if isinstance(key, kind)), OKPAlgorithm)
    jwk = json.loads(library.to_jwk(key.public_key()))
    return {name: jwk[name] for name in ("crv", "e", "kty", "n", "x", "y") if name in jwk}


def bound_to(key: Any) -> str:
    members = json.dumps(public_members(key), separators=(",", ":"))
    return token(cnf={"jkt": b64(hashlib.sha256(members.encode()).digest())})


def proof_of(key: Any, alg: str, sent: str) -> str:
    body = json.loads(jwt.utils.base64url_decode(proof(sent).split(".")[1]))
    return jwt.encode(body, key, alg, {"typ": "dpop+jwt", "jwk": public_members(key)})


@pytest.mark.parametrize(
    ("alg", "key"),
    [
        ("ES256", ec.generate_private_key(ec.SECP256R1())),
        ("ES384", ec.generate_private_key(ec.SECP384R1())),
        ("RS256", rsa.generate_private_key(65537, 2048)),
        ("PS256", rsa.generate_private_key(65537, 2048)),
        ("EdDSA", ed25519.Ed25519PrivateKey.generate()),
    ],
)
async def test_each_offered_algorithm_is_accepted(service: Service, alg: str, key: Any) -> None:
    sent = bound_to(key)
    assert await service.verify(sent, proof_of(key, alg, sent))


@pytest.mark.filterwarnings("ignore::jwt.InsecureKeyLengthWarning")
@pytest.mark.parametrize("bits", [1024, 4104])
async def test_rsa_proof_key_that_is_too_weak_or_too_large_is_refused(service: Service, bits: int) -> None:
    key = rsa.generate_private_key(65537, bits)
    sent = bound_to(key)
    assert await service.reason(sent, proof_of(key, "RS256", sent)) is Reason.PROOF


async def test_several_proofs_are_refused(service: Service, bound: str) -> None:
    one, two = proof(bound), proof(bound)
    for sent in ([one, two], [one, one], [], f"{one}, {two}", f"{one},{two}", ""):
        assert await service.reason(bound, sent) is Reason.PROOF


@pytest.mark.parametrize("sent", ["x", "..", "a.b.c", "." * MAX_BYTES, "." * 10_000_000, "é.é.é", "null"])
async def test_malformed_proof_is_refused(service: Service, bound: str, sent: str) -> None:
    assert await service.reason(bound, sent) is Reason.PROOF


async def test_proof_that_is_too_large_is_refused_before_it_is_parsed(service: Service, bound: str) -> None:
    assert "too large" in str(await service.refusal(bound, proof(bound, padding="x" * MAX_BYTES)))


async def test_proof_without_signature_or_with_a_duplicate_member_is_refused(service: Service, bound: str) -> None:
    head, body, _ = proof(bound).split(".")
    assert "does not verify" in str(await service.refusal(bound, f"{head}.{body}."))
    header = json.dumps({"typ": "dpop+jwt", "alg": "ES256", "jwk": JWK})
    twice = raw_token(header, '{"htm": "GET", "htm": "POST"}', HOLDER)
    assert "signed JWT" in str(await service.refusal(bound, twice))


async def test_refusal_of_a_proof_does_not_contain_it(service: Service, bound: str) -> None:
    sent = proof(bound, htu="https://evil.example/SENTINEL", jti="SENTINEL")
    refusal = await service.refusal(bound, sent)
    assert "SENTINEL" not in refusal.description + refusal.www_authenticate
    assert sent not in repr(refusal)


async def test_refused_proof_is_not_stored_in_the_replay_memory(bound: str) -> None:
    memory = ReplayMemory()
    service = Service(replay=memory)
    for _ in range(3):
        await service.reason(bound, proof(bound, htm="POST"))
        await service.reason(bound, proof(bound, THIEF))
    assert len(memory) == 0


# Nonces of the service


async def test_proof_without_a_nonce_of_the_service_is_refused(bound: str) -> None:
    service = Service(nonces=NONCES)
    for wrong in (None, "x", "", Nonces(b"x" * 32, "payroll").current(NOW), Nonces(b"n" * 32, "leave").current(NOW)):
        refusal = await service.refusal(bound, proof(bound, nonce=wrong))
        assert (refusal.reason, refusal.status, refusal.error) == (Reason.PROOF_NONCE, 401, "use_dpop_nonce")
    nonce = service.verifier.nonce()
    assert await service.verify(bound, proof(bound, nonce=nonce))
    service.clock.advance(seconds=400)
    assert await service.reason(bound, proof(bound, nonce=nonce, iat=NOW + 400)) is Reason.PROOF_NONCE


def test_verifier_without_nonces_gives_none(service: Service) -> None:
    assert service.verifier.nonce() is None


# The memory


def test_full_replay_memory_refuses_new_entries_and_keeps_old_ones() -> None:
    clock = Clock()
    memory = ReplayMemory(4, share=0.5, clock=clock)
    assert memory.first_use("a", "1", NOW + 10)
    assert memory.first_use("a", "2", NOW + 20)
    with pytest.raises(KeysUnavailable):
        memory.first_use("a", "3", NOW + 10)
    assert memory.first_use("b", "1", NOW + 10)
    assert not memory.first_use("a", "1", NOW + 99)
    clock.advance(seconds=10)
    assert len(memory) == 3
    assert memory.first_use("a", "3", NOW + 30)
    assert not memory.first_use("a", "2", NOW + 30)
    clock.advance(seconds=10_000)
    assert memory.first_use("a", "2", clock() + 1)
    assert len(memory) == 1


def test_one_of_many_threads_with_the_same_proof_is_first() -> None:
    memory, firsts = ReplayMemory(), []
    barrier = threading.Barrier(8)

    def use() -> None:
        barrier.wait()
        firsts.append(memory.first_use("a", "1", 2e9))

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(firsts) == [False] * 7 + [True]


class SharedMemory:
    """An async replay memory, like one in Valkey or Redis."""

    def __init__(self) -> None:
        self.seen: set[tuple[str, str]] = set()

    async def first_use(self, owner: str, value: str, until: float) -> bool:
        await asyncio.sleep(0)
        first = (owner, value) not in self.seen
        self.seen.add((owner, value))
        return first


async def test_shared_replay_memory_replaces_the_local_one(bound: str) -> None:
    shared, sent = SharedMemory(), proof(bound)
    one, two = Service(replay=shared), Service(replay=shared)
    await one.verify(bound, sent)
    assert await two.reason(bound, sent) is Reason.PROOF


@pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning")
def test_verify_sync_checks_proofs_and_refuses_an_async_replay_memory(bound: str) -> None:
    web = FakeIssuer(KEY)
    verifier = Verifier(ISSUER, AUDIENCE, http=web.client(), clock=Clock())
    sent = proof(bound)
    assert verifier.verify_sync(bound, proof=sent, method="GET", url=URL).jkt
    with pytest.raises(TokenRejected, match="used before"):
        verifier.verify_sync(bound, proof=sent, method="GET", url=URL)
    with pytest.raises(TokenRejected, match="bound to a key"):
        verifier.verify_sync(bound)
    waiting = Verifier(ISSUER, AUDIENCE, http=web.client(), clock=Clock(), replay=SharedMemory())
    with pytest.raises(TypeError, match="not a coroutine"):
        waiting.verify_sync(bound, proof=sent, method="GET", url=URL)


@pytest.mark.parametrize("request_", [{"method": ""}, {"url": ""}])
async def test_proof_without_method_or_url_is_a_value_error(
    service: Service, bound: str, request_: dict[str, str]
) -> None:
    with pytest.raises(ValueError, match="pass those of the request"):
        await service.verify(bound, proof(bound), **request_)


# Any input


GOOD = proof(None)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=6,
)


def accepted(sent: str) -> bool:
    try:
        check_proof([sent], method="GET", url=URL, now=NOW, leeway=60.0)
    except BadProof:
        return False
    return True


@given(st.text())
def test_any_text_is_refused(sent: str) -> None:
    assert not accepted(sent)


@settings(max_examples=300)
@given(st.integers(0, len(GOOD) - 1), st.characters())
def test_a_proof_with_one_character_changed_is_refused(position: int, character: str) -> None:
    changed = GOOD[:position] + character + GOOD[position + 1 :]
    assert accepted(changed) is (changed == GOOD)


@settings(max_examples=200)
@given(st.sampled_from(["htm", "htu", "iat", "jti", "nonce", "ath", "exp"]), JSON)
def test_any_claim_is_accepted_or_refused(name: str, value: Any) -> None:
    accepted(proof(None, **{name: value}))


@settings(max_examples=200)
@given(
    st.dictionaries(st.sampled_from(["typ", "alg", "jwk", "crit", "kid"]), JSON),
    st.dictionaries(st.sampled_from(["kty", "crv", "x", "y", "d", "alg", "n", "e"]), JSON),
)
def test_any_header_is_accepted_or_refused(header: dict[str, Any], jwk: dict[str, Any]) -> None:
    accepted(proof(None, header=header))
    accepted(proof(None, header={"jwk": JWK | jwk}))
