"""The platform decides where users are sent and whether they are asked; the record has only what it allows."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from scopewright.core.client.login import decide_login, limit_login, login_allowed
from scopewright.core.config import Applications, Config
from scopewright.core.objects import PAUSED_ANNOTATION
from scopewright.core.records.client import ClientRecord, Login
from scopewright.core.records.codec import decode, encode
from scopewright.core.records.issuer import IssuerRecord
from tests.harness.samples import ISSUER

from .builders import CONFIG, client, client_record, client_view

WEB = "https://web.hr.example/callback"
APP = "http://127.0.0.1:8000/callback"
PUBLIC = {"authentication": {"method": "None"}}


def users(*hosts: str, namespaces: tuple[str, ...] = ("hr",), **more: Any) -> dict[str, Any]:
    return {"applications": [{"namespaces": namespaces, "hosts": hosts, **more}]}


def config(*hosts: str, **more: Any) -> Config:
    return Config.model_validate({"issuer": ISSUER, "users": users(*hosts, **more)})


def login_of(
    config: Config, *uris: str, namespace: str = "hr", spec: dict[str, Any] | None = None, **login: Any
) -> Any:
    """The record's login, and the reasons of what is refused."""
    login = {"redirectURIs": list(uris or (WEB,)), **login}
    declared = client(namespace, "web", grantTypes=["authorization_code"], login=login, **(spec or {}))
    decision = decide_login(declared, config)
    return decision.login, [why.reason for why in decision.refused]


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("web.hr.example", True),
        ("a.b.hr.example", True),
        ("hr.example", False),
        ("evilhr.example", False),
        ("hr.example.evil.example", False),
        ("web.hr.example.evil.example", False),
        ("web-hr.example", False),
    ],
)
def test_a_pattern_is_every_host_below_its_domain(host: str, allowed: bool) -> None:
    login, refused = login_of(config("*.hr.example"), f"https://{host}/callback")
    assert (login is not None) is allowed
    assert refused == ([] if allowed else ["RedirectHostNotAllowed"])


def test_a_host_is_allowed_for_the_namespaces_of_its_entry_only() -> None:
    assert login_of(config("web.hr.example"), WEB)[0]
    assert not login_of(config("web.hr.example"), WEB, namespace="payroll")[0]
    assert login_of(config("web.hr.example", namespaces=("*",)), WEB, namespace="payroll")[0]
    assert login_of(config("web.hr.example"), "https://web.hr.example:8443/callback")[0], "an entry names no port"


def test_without_an_entry_a_namespace_has_loopback_for_public_clients_only() -> None:
    assert login_of(CONFIG, APP, "http://localhost/", "http://[::1]:1/", spec=PUBLIC)[0]
    for uri, spec in ((APP, {}), (WEB, {}), (WEB, PUBLIC), ("com.example.hr:/callback", PUBLIC)):
        assert login_of(CONFIG, uri, spec=spec) == (None, ["RedirectHostNotAllowed"])
    for uri in ("https://127.0.0.1/callback", "http://hr.example/callback"):
        assert login_of(CONFIG, uri, spec=PUBLIC)[0] is None


def test_a_private_use_scheme_is_a_domain_in_reverse_order() -> None:
    """RFC 8252 §7.1: so the platform's hosts bound it too."""
    assert login_of(config("*.example.com"), "com.example.hr:/callback", spec=PUBLIC)[0]
    assert not login_of(config("*.example.com"), "com.evil.hr:/callback", spec=PUBLIC)[0]
    assert not login_of(config("*.example.com"), "com.example.hr:/callback")[0], "such an app cannot keep a secret"


def test_what_is_refused_is_not_in_the_record_and_the_rest_is() -> None:
    login, refused = login_of(
        config("*.hr.example"), WEB, "https://evil.example/", postLogoutRedirectURIs=["https://evil.example/", WEB]
    )
    assert login == Login((WEB,), (WEB,))
    assert refused == ["RedirectHostNotAllowed"]


@pytest.mark.parametrize(
    "uri", ["http://web.hr.example/callback", f"{WEB}#a", "https://a@web.hr.example/", "javascript:a"]
)
def test_the_policy_does_not_rely_on_the_rules_of_the_crd(uri: str) -> None:
    assert login_of(config("*.hr.example", "hr.example"), uri, spec=PUBLIC)[0] is None


def test_consent_is_skipped_only_where_every_redirect_host_is_skippable() -> None:
    skippable = config("*.hr.example", consent="Skippable")
    assert login_of(skippable, consent="Skip")[0].consent == "Skip"
    assert login_of(skippable)[0].consent == "Required"
    login, refused = login_of(config("*.hr.example"), consent="Skip")
    assert (login.consent, refused) == ("Required", ["ConsentNotSkippable"])
    login, refused = login_of(skippable, consent="Skip", spec=PUBLIC)
    assert (login.consent, refused) == ("Required", ["ConsentNotSkippable"])
    both = Config.model_validate(
        {
            "issuer": ISSUER,
            "users": {
                "applications": [
                    {"namespaces": ["hr"], "hosts": ["web.hr.example"], "consent": "Skippable"},
                    {"namespaces": ["hr"], "hosts": ["*.hr.example"]},
                ]
            },
        }
    )
    assert login_of(both, consent="Skip")[0].consent == "Skip"
    assert login_of(both, WEB, "https://other.hr.example/", consent="Skip")[0].consent == "Required"


def test_pkce_is_optional_for_confidential_clients_without_a_profile_only() -> None:
    allowed = config("*.hr.example")
    assert login_of(allowed)[0].pkce_required
    assert login_of(allowed, pkce="Optional") == (Login((WEB,), pkce_required=False), [])
    for where, spec in ((allowed, PUBLIC), (allowed.model_copy(update={"profile": "FAPI2"}), {})):
        login, refused = login_of(where, pkce="Optional", spec=spec)
        assert login.pkce_required
        assert refused == ["ProfileForbids"]


def test_every_field_of_the_login_is_in_the_record() -> None:
    login, _ = login_of(
        config("*.hr.example"),
        identityProviders=["company"],
        allowedGroups=["hr-staff"],
        requirePushedAuthorizationRequests=True,
        refreshTokens={"idleTimeout": "1h", "maxLifetime": "90m"},
        idTokenSigningKey="es256",
    )
    assert login == Login(
        (WEB,),
        identity_providers=("company",),
        allowed_groups=("hr-staff",),
        pushed_requests_required=True,
        refresh_idle_timeout=3600,
        refresh_max_lifetime=5400,
        id_token_signing_key="es256",
    )


def test_without_the_grant_type_there_is_no_login_and_no_condition() -> None:
    declared = client("hr", "web", login={"redirectURIs": [WEB]})
    assert decide_login(declared, config("*.hr.example")).login is None
    assert login_allowed(client_view(declared, config=config("*.hr.example")), None) == ()


def condition_of(record: ClientRecord | None = None, paused: str = "false", **more: Any) -> tuple[str, str, str]:
    """Status, reason and message of the condition `LoginAllowed` of a web application."""
    login = {"redirectURIs": [WEB]} | more.pop("login", {})
    annotations = {PAUSED_ANNOTATION: paused}
    declared = client("hr", "web", grantTypes=["authorization_code"], login=login)
    declared = declared.model_copy(
        update={"metadata": declared.metadata.model_copy(update={"annotations": annotations})}
    )
    default: dict[str, Any] = {"config": config("*.hr.example"), "providers": frozenset({"company"})}
    [allowed] = login_allowed(client_view(declared, **default | more), record)
    return allowed.status, allowed.reason, allowed.message


def test_a_login_needs_a_provider() -> None:
    ready = frozenset({"id-tokens"})
    none = condition_of(signing=ready, providers=frozenset())
    assert none[:2] == ("False", "NoIdentityProvider")
    assert none[2].startswith("no user can log in: no IdentityProvider is in force yet: wait, or ask the platform team")
    named = condition_of(signing=ready, providers=frozenset(), login={"identityProviders": ["company"]})
    assert named[:2] == ("False", "NoIdentityProvider")
    assert condition_of(signing=ready, providers=frozenset({"company"}))[:2] == ("True", "Allowed")


def test_the_developer_login_stands_in_for_every_provider_only_while_there_is_none() -> None:
    ready, login = frozenset({"id-tokens"}), {"identityProviders": ["company"]}
    dev: dict[str, Any] = {"signing": ready, "developer_login": True, "login": login}
    assert condition_of(**dev, providers=frozenset())[:2] == ("True", "Allowed")
    assert condition_of(**dev, providers=frozenset({"other"}))[:2] == ("False", "IdentityProviderNotFound")


def test_a_login_names_its_providers_where_there_are_several() -> None:
    ready, two = frozenset({"id-tokens"}), frozenset({"company", "partners"})
    status, reason, message = condition_of(signing=ready, providers=two)
    assert (status, reason) == ("False", "IdentityProviderRequired")
    assert message.startswith("no user can log in: spec.login.identityProviders is empty")
    assert message.endswith("of company, partners")
    assert condition_of(signing=ready, providers=two, login={"identityProviders": ["company"]})[:2] == (
        "True",
        "Allowed",
    )
    many = frozenset(f"p{number}" for number in range(8))
    assert condition_of(signing=ready, providers=many)[2].endswith("of p0, p1, p2, p3, p4 and 3 more")


def test_a_name_without_a_provider_is_reported_and_the_others_log_in() -> None:
    ready, login = frozenset({"id-tokens"}), {"identityProviders": ["company", "partners"]}
    status, reason, message = condition_of(signing=ready, login=login)
    assert (status, reason) == ("False", "IdentityProviderNotFound")
    assert message.startswith("IdentityProvider partners does not exist, or has never been in force"), "company does"
    nobody = condition_of(signing=ready, login={"identityProviders": ["partners"]})[2]
    assert nobody.startswith("no user can log in: ")


@pytest.mark.parametrize("providers", [frozenset(), frozenset({"other"})])
def test_a_login_that_waits_for_the_platform_team_causes_no_event_of_its_own(providers: frozenset[str]) -> None:
    login = {"redirectURIs": [WEB], "identityProviders": ["company"]}
    declared = client("hr", "web", grantTypes=["authorization_code"], login=login)
    view = client_view(declared, config=config("*.hr.example"), providers=providers, signing=frozenset({"id-tokens"}))
    [condition] = login_allowed(view, None)
    assert condition.transient


def test_a_login_needs_a_signing_key_that_signs() -> None:
    ready, other = frozenset({"id-tokens"}), {"idTokenSigningKey": "other"}
    elsewhere: dict[str, Any] = {"signing": ready, "login": other}
    assert condition_of(signing=ready)[:2] == ("True", "Allowed")
    for missing in ({}, elsewhere):
        status, reason, message = condition_of(**missing)
        assert (status, reason) == ("False", "IDTokenKeyNotReady")
        name = "other" if missing else "id-tokens"
        assert message.startswith(f"no user can log in: SigningKey {name} has no key that signs ID tokens")


def test_a_signing_key_that_the_profile_forbids_is_no_key_of_id_tokens() -> None:
    keys: dict[str, Any] = {"signing": frozenset({"id-tokens"}), "forbidden_keys": frozenset({"id-tokens"})}
    status, reason, message = condition_of(**keys)
    assert (status, reason) == ("False", "ProfileForbids")
    assert "spec.login.idTokenSigningKey" in message


def test_a_refused_host_and_a_missing_key_are_reported_together() -> None:
    _, reason, message = condition_of(login={"redirectURIs": ["https://evil.example/"]})
    assert reason == "RedirectHostNotAllowed"
    assert "evil.example" in message
    assert "SigningKey id-tokens" in message


def test_the_condition_of_a_paused_client_is_about_what_the_issuer_has() -> None:
    """Nothing is written for it: its record may have another login than its spec."""
    ready: dict[str, Any] = {"paused": "true", "signing": frozenset({"id-tokens"})}
    assert condition_of(client_record(login=Login((WEB,))), **ready)[:2] == ("True", "Allowed")
    for record in (None, client_record(), client_record(login=Login((APP,)))):
        assert condition_of(record, **ready)[:2] == ("Unknown", "Paused")


def test_a_namespace_beyond_its_limits_keeps_the_uris_that_it_has() -> None:
    login = Login((WEB, APP), (WEB, APP), consent="Skip")
    assert limit_login(login, None) is None
    assert limit_login(None, login) is None
    assert limit_login(login, Login((APP,), (WEB,))) == replace(
        login, redirect_uris=(APP,), post_logout_redirect_uris=(WEB,)
    )
    assert limit_login(login, Login(("https://other.hr.example/",))) is None


def test_dev_allows_loopback_of_every_namespace_and_nothing_else() -> None:
    dev = config("*.hr.example").for_dev()
    login, refused = login_of(dev, APP, "http://localhost:3000/", "http://[::1]/", namespace="any", consent="Skip")
    assert len(login.redirect_uris) == 3
    assert (login.consent, refused) == ("Skip", [])
    assert login_of(dev, WEB)[0]
    assert not login_of(dev, WEB, namespace="any")[0]
    assert not login_of(dev, "http://127.0.0.2/", namespace="any")[0]


@pytest.mark.parametrize(
    "host",
    ["https://hr.example", "hr.example:8443", "*", "*.", "a.*.example", "HR.example", "hr.example/", "", "*hr.example"],
)
def test_a_host_that_is_not_one_is_refused_with_the_remedy(host: str) -> None:
    with pytest.raises(ValidationError, match=r"write hr\.example"):
        config(host)


@pytest.mark.parametrize(
    "sessions", [{"idleTimeout": "59s"}, {"idleTimeout": "13h"}, {"maxLifetime": "721h"}, {"maxLifetime": "30m"}]
)
def test_sessions_within_reason(sessions: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="idleTimeout must be at least 1m"):
        Config.model_validate({"issuer": ISSUER, "users": {"sessions": sessions}})


def test_the_issuer_record_has_the_sessions_and_stays_as_it_was_by_default() -> None:
    assert b"session" not in encode(CONFIG.issuer_record())
    given = {"issuer": ISSUER, "users": {"sessions": {"idleTimeout": "30m", "maxLifetime": "8h"}}}
    record = Config.model_validate(given).issuer_record()
    assert decode(IssuerRecord, encode(record)) == record
    assert (record.session_idle_timeout, record.session_max_lifetime) == (1800, 8 * 3600)
    assert decode(IssuerRecord, encode(CONFIG.issuer_record())).session_idle_timeout == 3600


def test_an_entry_needs_a_namespace_and_a_host() -> None:
    for given in (
        {"namespaces": [], "hosts": ["a"]},
        {"namespaces": ["a"], "hosts": []},
        {"namespaces": ["a.b"], "hosts": ["a"]},
    ):
        with pytest.raises(ValidationError):
            Applications.model_validate(given)


def test_the_refresh_times_of_the_record_are_whole_seconds() -> None:
    login, _ = login_of(config("*.hr.example"), refreshTokens={"idleTimeout": "90s500ms"})
    assert timedelta(seconds=login.refresh_idle_timeout) == timedelta(seconds=90)
