import inspect

import scopewright.testing as room
from scopewright.testing import FakeIssuer
from scopewright.testing.issuer import TokenOptions

SIGNATURES = {
    "__init__": "(self, issuer='https://issuer.test', audience='https://api.test', *, algorithm='ES256')",
    "token": (
        "(self, *scopes, client='test.client', subject=None, roles=(), sid=None, audience=None, "
        "expires_in=600, on_behalf_of=None, claims=None, header=None)"
    ),
    "headers": "(self, *scopes, **options)",
    "verifier": "(self, *, audience=None, **options)",
    "credentials": "(self, *, client='test.client', **options)",
    "client_secret": "(self, client='test.client')",
    "write_secret": "(self, directory, *, client='test.client', scope=None, audience=None)",
    "serve": "(self, port=0)",
    "rotate": "(self)",
    "revoke": "(self, token)",
    "end_session": "(self, token)",
    "unavailable": "(self)",
    "refusing": "(self, error)",
}


def test_public_names_are_complete() -> None:
    """A name that is added must be kept; removing one breaks users."""
    assert room.__all__ == ["FakeIssuer"]
    public = {name for name in vars(FakeIssuer) if not name.startswith("_")}
    assert public | {"__init__"} == SIGNATURES.keys() | {"issuer", "audience"}


def test_signatures_are_kept() -> None:
    assert {name: signature(name) for name in SIGNATURES} == SIGNATURES


def signature(name: str) -> str:
    found = inspect.signature(getattr(FakeIssuer, name))
    parameters = [each.replace(annotation=inspect.Parameter.empty) for each in found.parameters.values()]
    return str(inspect.Signature(parameters))


def test_options_of_a_token_are_those_of_the_method() -> None:
    parameters = inspect.signature(FakeIssuer.token).parameters.values()
    options = [each.name for each in parameters if each.kind is inspect.Parameter.KEYWORD_ONLY]
    assert list(TokenOptions.__annotations__) == options
