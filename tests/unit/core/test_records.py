"""The issuer reads records as the operator wrote them; malformed ones are rejected, without their content."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopewright.core.failures import Rejected
from scopewright.core.records.client import ClientRecord, Credential, RequestedAccess
from scopewright.core.records.codec import Record, decode, encode
from scopewright.core.records.fields import rfc3339
from scopewright.core.records.issuer import IssuerRecord
from scopewright.core.records.names import (
    audience_claim_name,
    client_record_name,
    key_record_name,
    resource_server_record_name,
)
from scopewright.core.records.resource_server import (
    AudienceClaim,
    HostnameClaim,
    HttpAccess,
    HttpRule,
    ResolvedGrant,
    ResourceServerRecord,
)
from scopewright.core.records.signing_key import KeyRecord

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)
WORDS = TEXT.filter(bool)
TEXTS = st.lists(TEXT, max_size=3).map(tuple)
INSTANTS = st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
MAYBE = st.one_of(st.none(), INSTANTS)
CLIENTS = st.builds(
    ClientRecord,
    namespace=TEXT,
    name=TEXT,
    uid=WORDS,
    method=st.sampled_from(["ClientSecret", "PrivateKeyJWT", "ServiceAccount"]),
    grant_types=TEXTS,
    disabled=st.booleans(),
    credentials=st.lists(st.builds(Credential, TEXT, INSTANTS, MAYBE), max_size=4).map(tuple),
    access=st.lists(st.builds(RequestedAccess, TEXT, TEXTS), max_size=3).map(tuple),
    secret_name=TEXT,
    heals=st.lists(INSTANTS, max_size=3).map(tuple),
)
RULES = st.builds(HttpRule, TEXT, TEXTS, TEXTS, st.sampled_from(["Required", "Optional", "None"]), TEXTS, TEXTS, TEXTS)
HTTP = st.builds(HttpAccess, TEXTS, TEXT, st.booleans(), st.lists(RULES, max_size=2).map(tuple), TEXTS)
SERVERS = st.builds(
    ResourceServerRecord,
    namespace=TEXT, name=TEXT, uid=WORDS, audience=TEXT, scopes=TEXTS, served_by=TEXTS,
    lifetime=st.integers(1, 3600), signing_key=TEXT, scopes_list_claim=st.booleans(),
    grants=st.lists(st.builds(ResolvedGrant, TEXTS, TEXTS, TEXTS, st.booleans(), MAYBE), max_size=3).map(tuple),
    http=st.none() | HTTP,
)  # fmt: skip
KEYS = st.builds(
    KeyRecord,
    kid=TEXT, signing_key=TEXT, algorithm=TEXT, config_map=TEXT, jwk=st.dictionaries(TEXT, TEXT, max_size=3),
    creation_time=INSTANTS, at_once=st.booleans(), signing_start_time=MAYBE, signing_end_time=MAYBE,
    verification_end_time=MAYBE, revoked_time=MAYBE,
)  # fmt: skip
ISSUERS = st.builds(IssuerRecord, TEXT, st.integers(1), st.integers(0), st.integers(0))
CLAIMS = st.builds(AudienceClaim, TEXT, TEXT, TEXT) | st.builds(HostnameClaim, TEXT, TEXT, TEXT, TEXT)
KINDS = (ClientRecord, ResourceServerRecord, KeyRecord, IssuerRecord, AudienceClaim, HostnameClaim)


@given(st.one_of(CLIENTS, SERVERS, KEYS, ISSUERS, CLAIMS))
def test_an_encoded_record_decodes_to_the_same_record(record: Record) -> None:
    data = encode(record)
    assert decode(type(record), data) == record
    assert encode(record) == data


@given(st.binary(max_size=60), st.sampled_from(KINDS))
def test_malformed_data_raises_only_the_error_for_malformed_records(data: bytes, kind: type[ClientRecord]) -> None:
    with pytest.raises(Rejected) as rejected:
        decode(kind, data)
    assert rejected.value.reason == "MalformedRecord"


JSON = st.recursive(
    st.sampled_from([None, True, 7, "SENTINEL-a", "SENTINEL-b"]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(
            st.sampled_from(["namespace", "name", "uid", "credentials", "sha256", "issueTime", "kid", "audience"]),
            inner,
            max_size=5,
        ),
    ),
    max_leaves=8,
)


@given(JSON, st.sampled_from(KINDS))
def test_the_error_contains_none_of_the_data(value: object, kind: type[ClientRecord]) -> None:
    with pytest.raises(Rejected) as rejected:
        decode(kind, json.dumps({"value": value}).encode())
    with pytest.raises(Rejected) as nested:
        decode(kind, json.dumps({"namespace": value, "credentials": [value], "jwk": value, "uid": 7}).encode())
    for error in (rejected.value, nested.value):
        assert "SENTINEL" not in error.message
        assert error.__suppress_context__, "a traceback would show the data"


@pytest.mark.parametrize(
    ("instant", "fits"),
    [
        ("2026-11-22T12:00:00Z", True),
        ("2026-11-22T13:00:00+01:00", True),
        ("2026-11-22T12:00:00", False),
        ("yesterday", False),
    ],
)
def test_an_instant_without_a_time_zone_is_malformed(instant: str, fits: bool) -> None:
    """Comparing it with an instant that has a time zone would raise an error later."""
    record = {"sha256": "x", "issueTime": instant}
    data = json.dumps({"namespace": "a", "name": "b", "uid": "c", "credentials": [record]}).encode()
    if fits:
        assert decode(ClientRecord, data).credentials[0].issue_time == datetime(2026, 11, 22, 12, tzinfo=UTC)
    else:
        with pytest.raises(Rejected):
            decode(ClientRecord, data)


def test_a_later_version_is_malformed_and_an_unknown_field_is_not() -> None:
    plain = {"namespace": "a", "name": "b", "uid": "c"}
    assert decode(ClientRecord, json.dumps({**plain, "later": 1}).encode()).uid == "c"
    with pytest.raises(Rejected):
        decode(ClientRecord, json.dumps({**plain, "version": 2}).encode())


def test_instants_are_written_in_utc() -> None:
    at = datetime(2026, 11, 22, 13, tzinfo=timezone(timedelta(hours=1)))
    assert rfc3339(at) == "2026-11-22T12:00:00Z"
    assert rfc3339(at + timedelta(microseconds=7)) == "2026-11-22T12:00:00.000007Z"


@given(*[st.from_regex(r"[a-z0-9]([-a-z0-9]{0,5}[a-z0-9])?", fullmatch=True)] * 4)
def test_names_of_records_do_not_collide(a: str, b: str, c: str, d: str) -> None:
    for name in (client_record_name, resource_server_record_name):
        assert (name(a, b) == name(c, d)) == ((a, b) == (c, d))


def test_kids_that_differ_in_case_have_different_record_names() -> None:
    assert key_record_name("aB") != key_record_name("ab")
    assert audience_claim_name("https://a/B") != audience_claim_name("https://a/b")
