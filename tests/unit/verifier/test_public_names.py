import pytest

import scopewright.verifier as room


def test_public_names_are_complete() -> None:
    """A name that is added must be kept; removing one breaks users."""
    names = (
        "ALGORITHMS Actor AnyIssuer Introspection Introspector IssuerMismatch Key KeySet KeysUnavailable Nonces "
        "Policy Reason Replay ReplayMemory RequireToken Requirement RevocationFeed Token TokenRejected "
        "TokenVerifier Verifier bearer_token check current_token protect replay_key require"
    )
    assert room.__all__ == names.split()
    for name in room.__all__:
        assert getattr(room, name)


@pytest.mark.parametrize(("old", "new"), [("Rejected", "TokenRejected"), ("Unavailable", "KeysUnavailable")])
def test_earlier_names_of_the_exceptions_are_the_same_classes(old: str, new: str) -> None:
    with pytest.warns(DeprecationWarning, match=new):
        assert getattr(room, old) is getattr(room, new)
