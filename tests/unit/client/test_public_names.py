import pytest

import scopewright.client as room


def test_the_public_names_are_these_and_all_are_there() -> None:
    """A name added here is a promise; a name taken away breaks somebody."""
    names = "AccessToken ClientCredentials Clock MountedCredentials MountedSecret SecretError TokenError"
    assert room.__all__ == names.split()
    for name in room.__all__:
        assert getattr(room, name)


def test_the_earlier_name_of_the_credentials_is_the_same_class() -> None:
    with pytest.warns(DeprecationWarning, match="MountedCredentials"):
        assert room.Credentials is room.MountedCredentials
