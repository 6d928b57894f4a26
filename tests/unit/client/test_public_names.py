import pytest

import scopewright.client as room


def test_public_names_are_complete() -> None:
    """A name that is added must be kept; removing one breaks users."""
    names = "AccessToken ClientCredentials Clock MountedCredentials MountedSecret SecretError TokenError"
    assert room.__all__ == names.split()
    for name in room.__all__:
        assert getattr(room, name)


def test_the_earlier_name_of_the_credentials_is_the_same_class() -> None:
    with pytest.warns(DeprecationWarning, match="MountedCredentials"):
        assert room.Credentials is room.MountedCredentials
