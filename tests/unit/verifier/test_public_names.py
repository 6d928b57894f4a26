import pytest

import scopewright.verifier as room
from tests.unit.public_signatures import signatures

SIGNATURES = """
ALGORITHMS: ES256 ES384 ES512 Ed25519 EdDSA PS256 PS384 PS512 RS256 RS384 RS512
Actor(subject, client_id=None, actor=None)
AnyIssuer(*verifiers)
AnyIssuer.cached(token, *, scopes=())
AnyIssuer.nonce()
AnyIssuer.ready(timeout=5)
AnyIssuer.ready_sync(timeout=5)
AnyIssuer.verify(token, *, scopes=(), proof=None, method='', url='')
AnyIssuer.verify_sync(token, *, scopes=(), proof=None, method='', url='')
Introspection(introspector, max_age=5.0, concurrency=100)
Introspector.introspect(token)
Introspector.introspect_sync(token)
IssuerMismatch(problem, named)
IssuerMismatch.advising(how)
Key(kid, algorithms, jwk, _public)
Key.verifies(signing_input, signature)
KeySet(keys)
KeySet.get(kid, algorithm=None)
KeySet.of(kid)
KeySet.parse(document, previous=None)
KeysUnavailable(retry_after=1.0, description='The keys or revocations of the issuer cannot be fetched at present; \
try again', reason='')
Nonces(key, purpose)
Nonces.accepts(nonce, now, leeway)
Nonces.current(now)
Policy(issuer, audience, scopes=frozenset(), leeway=60.0, algorithms=['ES256', 'ES384', 'ES512', 'Ed25519', 'EdDSA', \
'PS256', 'PS384', 'PS512', 'RS256', 'RS384', 'RS512'], max_token_bytes=16384)
Reason: missing scheme two_ways too_large malformed missing_claim type algorithm unknown_key signature issuer audience \
expired not_yet_valid revoked sender_constrained not_bound proof_needed proof proof_key proof_nonce scope role \
subprotocol path method method_override no_rule
Replay.first_use(owner, value, until)
ReplayMemory(capacity=200000, *, share=0.5, clock=time)
ReplayMemory.after_fork()
ReplayMemory.first_use(owner, value, until)
RequireToken(app, verifier, *, scopes=(), public=(), optional=(), rules=None, realm=None, base_url=None, \
websocket_subprotocol=False, resource_metadata=None)
Requirement(scopes=frozenset(), any_of=(), roles=())
Requirement.check(token)
Requirement.of(scopes=(), any_of=None, roles=None)
ResourceMetadata(resource, authorization_servers, url, path, _document)
ResourceMetadata.answers(method, path)
ResourceMetadata.document()
ResourceMetadata.headers()
ResourceMetadata.of(audience, issuer, *, scopes=(), bearer_methods=('header',), \
dpop_bound_access_tokens_required=False, dpop_signing_alg_values_supported=(), resource_name='', \
resource_documentation='')
RevocationFeed(uri=None, every=5.0, outage=600.0)
Rules(rules, *, audience='', base_path='/', case_sensitive=True, refused=())
Rules.comparable(pattern)
Rules.document()
Rules.find(method, segments)
Rules.load(file)
Rules.parse(document)
Rules.with_base_path()
RulesInvalid(reason, rule, message)
Token(subject, client_id, scopes, issuer, audience, expires_at, claims, value, jkt=None, roles=frozenset(), \
actor=None, sid=None)
TokenRejected(reason, *, scopes=(), expected='', scheme='')
TokenRejected.challenge(realm=None, scheme=None, resource_metadata=None)
TokenVerifier.cached(token, *, scopes=())
TokenVerifier.nonce()
TokenVerifier.ready(timeout=5)
TokenVerifier.ready_sync(timeout=5)
TokenVerifier.verify(token, *, scopes=(), proof=None, method='', url='')
TokenVerifier.verify_sync(token, *, scopes=(), proof=None, method='', url='')
Verifier(issuer, audience, *, scopes=(), allow_http=(), leeway=60.0, algorithms=['ES256', 'ES384', 'ES512', \
'Ed25519', 'EdDSA', 'PS256', 'PS384', 'PS512', 'RS256', 'RS384', 'RS512'], jwks_uri=None, http=None, clock=time, \
max_token_bytes=16384, cache_size=10000, dpop_required=False, dpop_algorithms=('ES256', 'ES384', 'RS256', 'PS256', \
'EdDSA', 'Ed25519'), replay=None, nonces=None, revocations=False, introspection=None)
Verifier.cached(token, *, scopes=())
Verifier.for_audience(audience, *, dpop_required=None)
Verifier.from_env(*, issuer=None, audience=None, **options)
Verifier.has_verified(token)
Verifier.nonce()
Verifier.ready(timeout=5)
Verifier.ready_sync(timeout=5)
Verifier.verify(token, *, scopes=(), proof=None, method='', url='')
Verifier.verify_sync(token, *, scopes=(), proof=None, method='', url='')
VerifierOptions: algorithms allow_http cache_size clock dpop_algorithms dpop_required http introspection jwks_uri \
leeway max_token_bytes nonces replay revocations scopes
bearer_token(authorization, query_string='')
check(token, keys, policy, now)
current_token(request)
protect(app, verifier, scopes=(), *, public=(), optional=(), rules=None, realm=None, base_url=None, \
websocket_subprotocol=False, resource_metadata=None)
replay_key(owner, value)
require(request, *scopes, any_of=None, roles=None)
"""


def test_public_names_are_complete() -> None:
    """A name that is added must be kept; removing one breaks users."""
    names = (
        "ALGORITHMS Actor AnyIssuer Introspection Introspector IssuerMismatch Key KeySet KeysUnavailable Nonces "
        "Policy Reason Replay ReplayMemory RequireToken Requirement ResourceMetadata RevocationFeed Rules "
        "RulesInvalid Token TokenRejected TokenVerifier Verifier VerifierOptions bearer_token check current_token "
        "protect replay_key require"
    )
    assert room.__all__ == names.split()


def test_public_signatures_are_unchanged() -> None:
    """An argument that is added needs a default; renaming one or its default breaks users."""
    assert signatures(room) == SIGNATURES.strip().splitlines()


@pytest.mark.parametrize(("old", "new"), [("Rejected", "TokenRejected"), ("Unavailable", "KeysUnavailable")])
def test_earlier_names_of_the_exceptions_are_the_same_classes(old: str, new: str) -> None:
    with pytest.warns(DeprecationWarning, match=new):
        assert getattr(room, old) is getattr(room, new)
