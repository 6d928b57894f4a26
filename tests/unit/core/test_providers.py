"""Which objects an IdentityProvider may name, what of them reaches its record, and which provider has which groups."""

import json
from datetime import timedelta
from functools import cache
from time import process_time
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from scopewright.api import IdentityProvider
from scopewright.core.failures import Rejected
from scopewright.core.objects import Existing, Ref, digest
from scopewright.core.providers.groups import is_allowed, overlap_of
from scopewright.core.providers.record import MAX_RECORD, MAX_STATIC_GROUPS, check_target, conflict, record_write
from scopewright.core.providers.secrets import MAX_CERTIFICATES, MAX_CLIENT_SECRET, PROVIDER_SECRET_TYPE
from scopewright.core.providers.static_users import STATIC_USERS_TYPE, decode_static_users
from scopewright.core.providers.view import CheckTarget, ProviderView, ReferencedObject, references
from scopewright.core.records.codec import decode, encode
from scopewright.core.records.identity_provider import ClaimMappings, IdentityProviderRecord
from scopewright.core.records.names import (
    CA_ENTRY,
    CLIENT_SECRET_ENTRY,
    CLIENT_TYPE,
    ENTRY,
    INSTALLATION_SECRETS,
    SIGNING_KEY_TYPE,
    USERS_ENTRY,
)
from tests.harness.clock import START
from tests.harness.samples import NAMESPACE, pem, private_key

from .builders import CONFIG, meta

URL = "https://login.example"
HASH = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g"
WITH_SECRET = {"method": "ClientSecret", "secretRef": {"name": "oidc", "key": "client_secret"}}
Objects = dict[Ref, ReferencedObject | Rejected | None]


@cache
def certificate() -> bytes:
    key = private_key("ES256")
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(START).not_valid_after(START + timedelta(days=1))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def held(name: str, type_: str = PROVIDER_SECRET_TYPE, kind: str = "Secret", **entries: bytes) -> Objects:
    """A referenced object; `client_secret` and `ca` are the names of entries, `users` is `users.yaml`."""
    named = {{"ca": CA_ENTRY, "users": "users.yaml"}.get(entry, entry): value for entry, value in entries.items()}
    ref = Ref(kind, NAMESPACE, name)
    existing = Existing(ref, "uid", "1", type_, entries={n: digest(v) for n, v in named.items()})
    return {ref: ReferencedObject(existing, named)}


def oidc(name: str = "company", mappings: dict[str, Any] | None = None, **more: Any) -> IdentityProvider:
    spec = {"issuerURL": URL, "clientID": "scopewright", "clientAuthentication": {"method": "None"}, **more}
    return provider({"oidc": spec, "claimMappings": mappings or {}}, name)


def static(mappings: dict[str, Any] | None = None) -> IdentityProvider:
    return provider({"static": {"usersRef": {"name": "users"}}, "claimMappings": mappings or {}}, "desk")


def provider(spec: dict[str, Any], name: str) -> IdentityProvider:
    return IdentityProvider.model_validate({"metadata": meta(NAMESPACE, name), "spec": spec})


def view(declared: IdentityProvider, referenced: Objects | None = None, **more: Any) -> ProviderView:
    default: dict[str, Any] = {"record": None, "record_object": None, "others": (), "config": CONFIG, "now": START}
    return ProviderView(declared, referenced=referenced or {}, **(default | more))


def entries_of(declared: IdentityProvider, referenced: Objects | None = None) -> dict[str, Any]:
    return dict(record_write(view(declared, referenced)).entries)


def record_of(declared: IdentityProvider, referenced: Objects | None = None) -> IdentityProviderRecord:
    return decode(IdentityProviderRecord, entries_of(declared, referenced)[ENTRY])


def reason_of(declared: IdentityProvider, referenced: Objects | None = None, **more: Any) -> str:
    with pytest.raises(Rejected) as refused:
        record_write(view(declared, referenced, **more))
    return refused.value.reason


@pytest.mark.parametrize(
    "subject", [{"claim": "email"}, {"claim": "https://a.example/UPN"}, {"path": ["user", "preferred_username"]}, {}]
)
def test_a_subject_that_another_user_can_get_is_refused_without_the_rules_of_the_crd(subject: dict[str, Any]) -> None:
    assert reason_of(oidc(mappings={"subject": subject})) == "SubjectClaimNotAllowed"


# Referenced objects


def test_the_record_has_the_client_secret_and_only_the_certificates() -> None:
    both = certificate() + pem(private_key("ES256"))
    declared = oidc(clientAuthentication=WITH_SECRET, caCertificateRef={"kind": "Secret", "name": "oidc"})
    entries = entries_of(declared, held("oidc", client_secret=b"correct horse", ca=both))
    assert entries[CLIENT_SECRET_ENTRY] == b"correct horse"
    assert entries[CA_ENTRY] == certificate(), "a private key beside the certificates was copied"
    assert entries.keys() == {ENTRY, CLIENT_SECRET_ENTRY, CA_ENTRY}
    assert b"correct horse" not in entries[ENTRY]


def test_a_config_map_needs_no_type() -> None:
    declared = oidc(caCertificateRef={"name": "ca"})
    assert entries_of(declared, held("ca", "", "ConfigMap", ca=certificate()))[CA_ENTRY] == certificate()


@pytest.mark.parametrize(
    "type_", ["", "Opaque", "kubernetes.io/tls", STATIC_USERS_TYPE, SIGNING_KEY_TYPE, CLIENT_TYPE, "Scopewright.dev/x"]
)
def test_a_secret_of_another_type_is_not_read(type_: str) -> None:
    secret = held("oidc", type_, client_secret=b"x", ca=certificate())
    assert reason_of(oidc(clientAuthentication=WITH_SECRET), secret) == "SecretTypeNotAllowed"
    by_certificate = oidc(caCertificateRef={"kind": "Secret", "name": "oidc"})
    assert reason_of(by_certificate, secret) == "SecretTypeNotAllowed"


@pytest.mark.parametrize(
    "name", [*INSTALLATION_SECRETS, "client.hr.web", "signingkey.0", "identityprovider.other", "scopewright-issuer"]
)
@pytest.mark.parametrize("kind", ["Secret", "ConfigMap"])
def test_a_reserved_name_is_not_read_whatever_its_type(name: str, kind: str) -> None:
    declared = oidc(caCertificateRef={"kind": kind, "name": name})
    assert reason_of(declared, held(name, kind=kind, ca=certificate())) == "SecretTypeNotAllowed"
    with_secret = {"method": "ClientSecret", "secretRef": {"name": name}}
    assert reason_of(oidc(clientAuthentication=with_secret), held(name, client_secret=b"x")) == "SecretTypeNotAllowed"


def test_users_are_not_read_from_a_secret_of_another_type() -> None:
    assert reason_of(static(), held("users", PROVIDER_SECRET_TYPE, users=b"users: []")) == "SecretTypeNotAllowed"


def test_what_is_missing_is_named() -> None:
    declared = oidc(clientAuthentication=WITH_SECRET)
    assert reason_of(declared) == "SecretNotFound"
    assert reason_of(declared, held("oidc", other=b"x")) == "SecretEntryMissing"
    by_certificate = oidc(caCertificateRef={"name": "ca"})
    assert reason_of(by_certificate) == "ConfigMapNotFound"
    assert reason_of(by_certificate, held("ca", "", "ConfigMap", other=b"x")) == "ConfigMapEntryMissing"
    forbidden: Objects = {Ref("Secret", NAMESPACE, "oidc"): Rejected("Forbidden", "the operator may not get secrets")}
    assert reason_of(declared, forbidden) == "Forbidden"


@pytest.mark.parametrize(
    "value",
    [b"", b"secret\n", b"\nsecret", b"a\tb", b"a\nb", "gehéim".encode(), b"\xff\xfe", b"s" * (MAX_CLIENT_SECRET + 1)],
)
def test_a_client_secret_is_printable_ascii_and_bounded(value: bytes) -> None:
    declared = oidc(clientAuthentication=WITH_SECRET)
    with pytest.raises(Rejected) as refused:
        record_write(view(declared, held("oidc", client_secret=value)))
    assert refused.value.reason == "SecretInvalid"
    assert "gehéim" not in refused.value.message


def test_a_client_secret_may_have_every_printable_character() -> None:
    """VSCHAR, RFC 6749 §A.2."""
    value = bytes(range(0x20, 0x7F))
    entries = entries_of(oidc(clientAuthentication=WITH_SECRET), held("oidc", client_secret=value))
    assert entries[CLIENT_SECRET_ENTRY] == value


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"no certificate",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        pem(private_key("ES256")),
        certificate() * (MAX_CERTIFICATES // len(certificate()) + 1),
    ],
    ids=["empty", "text", "malformed", "private key", "too long"],
)
def test_certificates_are_pem_and_bounded(value: bytes) -> None:
    declared = oidc(caCertificateRef={"name": "ca"})
    assert reason_of(declared, held("ca", "", "ConfigMap", ca=value)) == "CertificateInvalid"
    assert check_target(view(declared, held("ca", "", "ConfigMap", ca=value))) is None


def test_the_objects_to_read_are_in_the_namespace_of_the_provider() -> None:
    declared = oidc(clientAuthentication=WITH_SECRET, caCertificateRef={"name": "oidc"})
    assert references(declared) == (Ref("Secret", NAMESPACE, "oidc"), Ref("ConfigMap", NAMESPACE, "oidc"))
    assert references(static()) == (Ref("Secret", NAMESPACE, "users"),)


def test_secrets_do_not_show() -> None:
    shown = repr(view(oidc(clientAuthentication=WITH_SECRET), held("oidc", client_secret=b"correct horse")))
    assert "correct horse" not in shown


# The record


def test_defaults_are_resolved() -> None:
    record = record_of(oidc())
    assert (record.display_name, record.subject_domain) == ("company", URL)
    assert (record.check_interval, record.check_max_age) == (900, 12 * 3600)
    moved = provider({"oidc": oidc().spec.oidc, "displayName": "Login", "subjectDomain": "https://old.example"}, "x")
    assert record_of(moved).subject_domain == "https://old.example"
    assert record_of(moved).display_name == "Login"


def test_claims_are_paths() -> None:
    mappings = {
        "subject": {"claim": "oid"},
        "username": {"path": ["user", "login"]},
        "groups": {"path": ["realm_access", "roles"], "prefix": "c:", "allow": ["hr-*"]},
        "acr": {"allow": ["mfa"]},
    }
    expected = ClaimMappings(("oid",), ("user", "login"), ("realm_access", "roles"), "c:", ("hr-*",), ("mfa",))
    assert record_of(oidc(mappings=mappings)).claims == expected


@pytest.mark.parametrize("url", ["http://login.example", "http://127.0.0.1:1", "https://u@x.y", "https:///x"])
def test_a_provider_in_a_cluster_has_https(url: str) -> None:
    assert reason_of(oidc(issuerURL=url)) == "IssuerURLNotAllowed"


def test_a_local_provider_may_have_http_on_loopback() -> None:
    assert record_write(view(oidc(issuerURL="http://127.0.0.1:1"), allow_loopback=True))
    assert reason_of(oidc(issuerURL="http://login.example"), allow_loopback=True) == "IssuerURLNotAllowed"


@pytest.mark.parametrize(
    ("url", "is_for_dev"), [("http://127.0.0.1:1", True), ("http://localhost/x", True), ("http://login.example", False)]
)
def test_what_dev_alone_allows_is_refused_with_that_hint(url: str, is_for_dev: bool) -> None:
    with pytest.raises(Rejected) as refused:
        record_write(view(oidc(issuerURL=url)))
    assert ("which only `scopewright dev` allows: in a cluster" in refused.value.message) == is_for_dev


def test_an_object_keeps_its_subjects() -> None:
    """As the CEL rules say, which the object may be older than."""
    write = record_write(view(oidc()))
    known: dict[str, Any] = {"record": record_of(oidc()), "record_object": Existing(write.ref, "uid", "1")}
    assert reason_of(oidc(issuerURL="https://new.example"), **known) == "SubjectDomainImmutable"
    assert reason_of(oidc(mappings={"subject": {"claim": "oid"}}), **known) == "SubjectClaimImmutable"
    assert record_write(view(oidc(clientID="other"), **known))


def test_a_check_needs_the_certificates_and_no_client_secret() -> None:
    declared = oidc(clientAuthentication=WITH_SECRET, caCertificateRef={"name": "ca"}, signingAlgorithms=["ES256"])
    referenced = held("ca", "", "ConfigMap", ca=certificate())
    assert check_target(view(declared, referenced)) == CheckTarget(URL, certificate().decode(), ("ES256",))
    assert check_target(view(static())) is None


# Static users


def users(*groups: str) -> Objects:
    listed = [{"id": "sam", "passwordHash": HASH, "groups": list(groups[:200])}]
    listed += [{"id": f"u{i}", "passwordHash": HASH, "groups": [g]} for i, g in enumerate(groups[200:])]
    return held("users", STATIC_USERS_TYPE, users=json.dumps({"users": listed}).encode())


def test_static_users_have_a_domain_of_their_own_and_their_groups_by_name() -> None:
    entries = entries_of(static(), users("staff", "admins"))
    record = decode(IdentityProviderRecord, entries[ENTRY])
    assert record.oidc is None
    assert record.subject_domain == "static:desk"
    assert record.claims.groups_allow == ("admins", "staff")
    assert [user.id for user in decode_static_users(entries[USERS_ENTRY])] == ["sam"]


def test_ranges_of_the_spec_count_for_static_users_too() -> None:
    mappings = {"groups": {"claim": "groups", "prefix": "desk:", "allow": ["s*"]}}
    claims = record_of(static(mappings), users("staff")).claims
    assert (claims.groups_prefix, claims.groups_allow) == ("desk:", ("s*",))


def test_a_group_of_static_users_is_no_range() -> None:
    assert reason_of(static(), users("hr-*")) == "UsersInvalid"


def test_different_groups_of_static_users_are_bounded() -> None:
    many = [f"g{number}" for number in range(MAX_STATIC_GROUPS + 1)]
    assert reason_of(static(), users(*many)) == "UsersInvalid"
    assert record_of(static(), users(*many[:-1]))
    assert record_of(static({"groups": {"claim": "groups", "allow": ["g*"]}}), users(*many))


def test_a_record_of_static_users_fits_into_a_secret() -> None:
    """The API server refuses a Secret of more than 1 MiB, with a message that says nothing about users."""
    wide = [f"{number}".ljust(256, "\N{GRINNING FACE}") for number in range(MAX_STATIC_GROUPS)]
    listed = [{"id": f"u{i}", "passwordHash": HASH, "groups": wide[i % 2 * 200 :][:200]} for i in range(4)]
    several = held("users", STATIC_USERS_TYPE, users=json.dumps({"users": listed}, ensure_ascii=False).encode())
    with pytest.raises(Rejected, match=r"take [0-9]+ bytes in the issuer's record, at most 1048576: list") as refused:
        record_write(view(static(), several))
    assert refused.value.reason == "UsersInvalid"
    entries = entries_of(static({"groups": {"claim": "groups", "allow": ["*"]}}), several)
    assert sum(map(len, entries.values())) <= MAX_RECORD


def test_users_that_cannot_be_read_are_refused() -> None:
    with pytest.raises(Rejected, match=r"Secret [^ ]+/users: users\.yaml, line 1, users\[0\]\.passwordHash") as refused:
        record_write(view(static(), held("users", STATIC_USERS_TYPE, users=b"users: [{id: sam}]")))
    assert refused.value.reason == "UsersInvalid"
    assert reason_of(static(), held("users", STATIC_USERS_TYPE, other=b"")) == "SecretEntryMissing"


# Groups and domains of two providers


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        (("", "hr"), ("", "hr"), True),
        (("", "hr"), ("", "HR"), False),
        (("", "hr-*"), ("", "hr-staff"), True),
        (("", "hr-staff"), ("", "hr-*"), True),
        (("", "hr-*"), ("", "h*"), True),
        (("", "h*"), ("", "hr-*"), True),
        (("", "hr-*"), ("", "hr"), False),
        (("", "hr-*"), ("", "it-*"), False),
        (("", "*"), ("", "x"), True),
        (("", "*"), ("", "*"), True),
        (("a:", "*"), ("b:", "*"), False),
        (("a", "*"), ("ab", "*"), True),
        (("a:", "hr"), ("", "a:hr"), True),
        (("a:", "hr"), ("a:", "it"), False),
    ],
)
def test_ranges_overlap_after_the_prefix(one: tuple[str, str], other: tuple[str, str], overlap: bool) -> None:
    first, second = (ClaimMappings(groups_prefix=prefix, groups_allow=(name,)) for prefix, name in (one, other))
    assert bool(overlap_of(first, second)) is overlap
    assert bool(overlap_of(second, first)) is overlap


def test_hundreds_of_groups_are_compared_in_milliseconds() -> None:
    """The operator compares each provider with all others, beside all else that it does."""
    mappings = [
        ClaimMappings(groups_allow=tuple(f"{provider}-{number}" for number in range(MAX_STATIC_GROUPS)))
        for provider in range(50)
    ]
    before = process_time()
    assert not any(overlap_of(mappings[0], other) for other in mappings[1:])
    assert process_time() - before < 0.5


def test_a_provider_assigns_the_groups_that_its_names_and_ranges_cover() -> None:
    allow = ("hr-*", "admins")
    assert [g for g in ("hr-staff", "hr-", "hr", "admins", "admins2", "it") if is_allowed(g, allow)] == [
        "hr-staff", "hr-", "admins",
    ]  # fmt: skip
    assert is_allowed("anything", ("*",))
    assert not is_allowed("anything", ())


def test_one_domain_has_one_provider() -> None:
    why = conflict(record_of(oidc("one")), record_of(oidc("two")))
    assert why
    assert why.reason == "SubjectDomainConflict"
    assert "IdentityProvider two" in why.message
    assert conflict(record_of(oidc("one")), record_of(oidc("two", issuerURL=f"{URL}/"))) is None, "byte for byte"


def test_the_record_is_read_as_it_was_written() -> None:
    record = record_of(oidc(mappings={"groups": {"claim": "groups", "allow": ["hr-*"]}}))
    assert decode(IdentityProviderRecord, encode(record)) == record
