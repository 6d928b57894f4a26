"""The flags of `scopewright gateway`: errors say what to do."""

import socket

import pytest

from scopewright.cli.gateway_options import enabled_profiles, identity_headers
from scopewright.cli.settings import GATEWAY_REPLAY, ISSUER_REPLAY, listen, url_of
from scopewright.core.failures import Rejected


def test_only_named_profiles_are_enabled() -> None:
    assert list(enabled_profiles(["envoy", "nginx"])) == ["envoy", "nginx"]


@pytest.mark.parametrize(
    ("names", "advice"), [([], "pass --profile, with one of nginx"), (["apache"], "'apache' is unknown; pass one of")]
)
def test_missing_and_unknown_profiles_are_refused(names: list[str], advice: str) -> None:
    with pytest.raises(Rejected, match=advice):
        enabled_profiles(names)


def test_identity_headers_have_other_names() -> None:
    assert identity_headers([]) == {}
    assert identity_headers(["subject=X-Caller", "roles=X-Groups"]) == {"subject": "X-Caller", "roles": "X-Groups"}


@pytest.mark.parametrize(
    ("texts", "advice"),
    [
        (["subject"], "has no `=`; pass it such as subject=X-Auth-Subject"),
        (["user=X-User"], "use one of subject, client, scope, roles, token-id"),
        (["subject=X_User"], "use letters, digits and hyphens"),
        (["subject=Authorization"], "because HTTP or OAuth uses it: use another"),
        (["subject=X-A", "client=x-a"], "give each value a name of its own"),
        (["subject=X-Auth-Client"], "give each value a name of its own"),
        (["subject=X-A", "subject=X-B"], "pass each value once"),
    ],
)
def test_unusable_identity_headers_are_refused(texts: list[str], advice: str) -> None:
    with pytest.raises(Rejected, match=advice):
        identity_headers(texts)


def test_gateway_and_issuer_have_prefixes_of_their_own_in_a_shared_replay_memory() -> None:
    assert not GATEWAY_REPLAY.startswith(ISSUER_REPLAY)
    assert not ISSUER_REPLAY.startswith(GATEWAY_REPLAY)


def test_announced_url_has_the_chosen_port() -> None:
    with listen("127.0.0.1:0") as listening:
        assert url_of("127.0.0.1:0", listening) == f"http://127.0.0.1:{listening.getsockname()[1]}"
    with socket.socket(socket.AF_INET6) as listening:
        try:
            listening.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
        assert url_of("[::1]:0", listening) == f"http://[::1]:{listening.getsockname()[1]}"
