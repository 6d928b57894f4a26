import pytest

import scopewright.client as room
from tests.unit.public_signatures import signatures

SIGNATURES = """
AccessToken(value, scopes, expires_at, issued_at)
ClientCredentials(path=None, resource=None, scope=None, *, client_id=None, client_secret=None, private_key=None, \
service_account_token=None, issuer=None, token_endpoint=None, http=None, dpop=False, hosts=(), allow_http=(), \
clock=None, jitter=random)
ClientCredentials.for_resource(resource, scope=None)
ClientCredentials.from_env(prefix='SCOPEWRIGHT_', **options)
ClientCredentials.introspect(token)
ClientCredentials.introspect_sync(token)
ClientCredentials.invalidate(token)
ClientCredentials.on_behalf_of(subject_token)
ClientCredentials.revoke(token)
ClientCredentials.revoke_sync(token)
ClientCredentials.token()
ClientCredentials.token_sync()
ClientOptions: allow_http clock dpop hosts http jitter resource scope
Clock()
Clock.now()
Clock.wait(seconds)
Clock.wait_async(seconds)
CredentialSource.read(*, now=False)
MountedCredentials(client_id, issuer, token_endpoint=None, jwks_uri=None, client_secret=None, private_key=None, \
scope=None, audience=None, service_account_token=None)
MountedSecret(path, *, names=None, service_account_token=None, every=1.0, clock=None)
MountedSecret.read(*, now=False)
SecretError(description)
TokenError(error, description, status=None, *, retry_after=None)
TokenError.again()
"""


def test_public_names_are_complete() -> None:
    """A name that is added must be kept; removing one breaks users."""
    names = (
        "AccessToken ClientCredentials ClientOptions Clock CredentialSource MountedCredentials MountedSecret "
        "SecretError TokenError"
    )
    assert room.__all__ == names.split()


def test_public_signatures_are_unchanged() -> None:
    """An argument that is added needs a default; renaming one or its default breaks users."""
    assert signatures(room) == SIGNATURES.strip().splitlines()


def test_the_earlier_name_of_the_credentials_is_the_same_class() -> None:
    with pytest.warns(DeprecationWarning, match="MountedCredentials"):
        assert room.Credentials is room.MountedCredentials
