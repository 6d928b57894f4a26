"""Withdrawn access of users, by entries of grants and by clients: what ends, and that no client's own token does."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from scopewright.core.records.client import ClientRecord, Login, RequestedAccess
from scopewright.core.records.resource_server import ResolvedGrant, ResourceServerRecord, Role, UserGrant
from scopewright.core.records.written_by_issuers import RevocationRecord
from scopewright.core.revocation_keys import audience_key
from scopewright.issuer.state import access_removal
from scopewright.issuer.state.entries import build_client, build_server
from tests.harness.clock import START
from tests.harness.samples import PAYROLL, client_record, server_record

NOTHING = RevocationRecord()
NOW = int(START.timestamp())
SCOPES = ("payroll.read", "payroll.write")
MANAGER = Role("payroll-manager", SCOPES)
BY_GROUP = UserGrant(SCOPES, roles=("payroll-manager",), groups=("managers",), namespaces=("hr",))
BY_SUBJECT = UserGrant(("payroll.read",), subjects=("u-ada",), clients=("hr.hr-web",))
FOR_ALL = UserGrant(("payroll.read",), all_users=True, everybody=True)
API = server_record(
    roles=(MANAGER,), user_grants=(BY_GROUP, BY_SUBJECT), grants=(ResolvedGrant(("payroll.read",), everybody=True),)
)
WEB = client_record(
    namespace="hr",
    name="hr-web",
    uid="uid-web",
    grant_types=("client_credentials", "authorization_code", "refresh_token"),
    access=(RequestedAccess("payroll/payroll-api", SCOPES),),
    login=Login(
        ("https://hr.example/callback",), allowed_groups=("staff", "managers"), identity_providers=("company",)
    ),
)


def by_server(before: ResourceServerRecord, after: ResourceServerRecord) -> RevocationRecord:
    entries = [build_server("payroll", record, START) for record in (before, after)]
    return access_removal.of_server(entries[0], entries[1], [build_client(WEB, "1")], NOW) or NOTHING


def by_client(before: ClientRecord, after: ClientRecord | None) -> RevocationRecord:
    server = build_server("payroll", API, START)
    client = build_client(after, "2") if after else None
    return access_removal.of_client(build_client(before, "1"), client, [server], NOW) or NOTHING


def granting(*entries: UserGrant, **changes: Any) -> ResourceServerRecord:
    return replace(API, user_grants=entries, **changes)


WITHDRAWN: dict[str, ResourceServerRecord] = {
    "an entry": granting(BY_GROUP),
    "all entries": granting(),
    "a scope of an entry": granting(replace(BY_GROUP, scopes=("payroll.read",)), BY_SUBJECT),
    "a role of an entry": granting(replace(BY_GROUP, roles=()), BY_SUBJECT),
    "a group of an entry": granting(replace(BY_GROUP, groups=("others",)), BY_SUBJECT),
    "a subject of an entry": granting(BY_GROUP, replace(BY_SUBJECT, subjects=("u-eve",))),
    "a client of an entry": granting(BY_GROUP, replace(BY_SUBJECT, clients=("hr.other",))),
    "a namespace of an entry": granting(replace(BY_GROUP, namespaces=("other",)), BY_SUBJECT),
    "most of a namespace": granting(replace(BY_GROUP, namespaces=(), clients=("hr.hr-web",)), BY_SUBJECT),
    "an entry that ends before its tokens": granting(
        replace(BY_GROUP, not_after=START + timedelta(seconds=599)), BY_SUBJECT
    ),
    "an entry that has ended": granting(replace(BY_GROUP, not_after=START), BY_SUBJECT),
    "a declared scope": replace(API, scopes=("payroll.read",)),
    "a role": replace(API, roles=()),
    "a role, by another scope": replace(
        API, scopes=(*SCOPES, "payroll.pay"), roles=(replace(MANAGER, scopes=(*SCOPES, "payroll.pay")),)
    ),
}
KEPT: dict[str, ResourceServerRecord] = {
    "the same": API,
    "the order of entries": granting(BY_SUBJECT, BY_GROUP),
    "another entry": granting(BY_GROUP, BY_SUBJECT, FOR_ALL),
    "another scope": replace(API, scopes=(*SCOPES, "payroll.pay")),
    "another role": replace(API, roles=(MANAGER, Role("reader", ("payroll.read",)))),
    "another group": granting(replace(BY_GROUP, groups=("managers", "heads")), BY_SUBJECT),
    "more clients": granting(BY_GROUP, replace(BY_SUBJECT, clients=(), namespaces=("hr",))),
    "all clients": granting(replace(BY_GROUP, namespaces=(), everybody=True), BY_SUBJECT),
    "all users": granting(BY_GROUP, replace(BY_SUBJECT, subjects=(), all_users=True)),
    "a wider entry for a narrow one": granting(BY_GROUP, FOR_ALL),
    "two entries for one": granting(
        replace(BY_GROUP, roles=(), scopes=("payroll.write",)),
        replace(BY_GROUP, scopes=("payroll.read",)),
        BY_SUBJECT,
    ),
    "an end after its tokens": granting(replace(BY_GROUP, not_after=START + timedelta(seconds=600)), BY_SUBJECT),
    "a description": replace(API, descriptions={"payroll.read": "Read salaries"}),
    "a shorter lifetime": replace(API, lifetime=60),
}


@pytest.mark.parametrize("after", WITHDRAWN.values(), ids=WITHDRAWN)
def test_withdrawn_access_of_users_ends_tokens_of_users_at_the_api(after: ResourceServerRecord) -> None:
    """Also where a scope is no longer declared: clients then lose it as well, by an entry of their own."""
    ended = by_server(API, after)
    assert ended.user_access == {audience_key(PAYROLL): NOW}
    if after.scopes == API.scopes:
        assert ended == RevocationRecord(user_access=ended.user_access), "and no token of a client"


@pytest.mark.parametrize("after", KEPT.values(), ids=KEPT)
def test_change_that_withdraws_nothing_from_users_ends_nothing(after: ResourceServerRecord) -> None:
    assert by_server(API, after) == NOTHING


def test_entry_that_had_ended_before_ends_nothing_when_it_is_removed() -> None:
    over = replace(BY_GROUP, not_after=START)
    assert by_server(granting(over, BY_SUBJECT), granting(BY_SUBJECT)) == NOTHING


def test_grant_to_clients_that_is_withdrawn_ends_nothing_of_an_application_that_acts_only_for_users() -> None:
    entries = [build_server("payroll", record, START) for record in (API, replace(API, grants=()))]
    for grant_types, ends in ((("authorization_code",), False), (("client_credentials",), True)):
        client = build_client(replace(WEB, grant_types=grant_types), "1")
        ended = access_removal.of_server(entries[0], entries[1], [client], NOW)
        assert (ended is not None) is ends, grant_types


def test_role_of_a_client_that_is_withdrawn_ends_its_tokens_at_the_api() -> None:
    grant = ResolvedGrant(SCOPES, everybody=True, roles=("payroll-manager",))
    before = replace(API, grants=(grant,), user_grants=())
    for after in (
        replace(before, grants=(replace(grant, roles=()),)),
        replace(before, roles=()),
        replace(before, roles=(replace(MANAGER, scopes=(*SCOPES, "payroll.pay")),)),
    ):
        ended = by_server(before, after)
        assert (list(ended.access), ended.user_access) == ([build_client(WEB, "1").uid_hash], {})
    assert by_server(before, replace(before, roles=(replace(MANAGER, scopes=("payroll.read",)),))) == NOTHING


LOGIN = WEB.login or Login(())
ENDS_LOGIN: dict[str, ClientRecord] = {
    "login": replace(WEB, login=None),
    "authorization_code": replace(WEB, grant_types=("client_credentials", "refresh_token")),
    "refresh_token": replace(WEB, grant_types=("client_credentials", "authorization_code")),
    "its credential": replace(WEB, public=True),
    "an allowed group": replace(WEB, login=replace(LOGIN, allowed_groups=("staff",))),
    "an identity provider": replace(WEB, login=replace(LOGIN, identity_providers=("other",))),
}
KEEPS_LOGIN: dict[str, ClientRecord] = {
    "another redirect URI": replace(WEB, login=replace(LOGIN, redirect_uris=("https://new.hr.example/callback",))),
    "another group": replace(WEB, login=replace(LOGIN, allowed_groups=("staff", "managers", "guests"))),
    "all groups": replace(WEB, login=replace(LOGIN, allowed_groups=None)),
    "another provider": replace(WEB, login=replace(LOGIN, identity_providers=("company", "partners"))),
    "another grant type": replace(
        WEB, grant_types=(*WEB.grant_types, "urn:ietf:params:oauth:grant-type:token-exchange")
    ),
    "consent": replace(WEB, login=replace(LOGIN, consent="Skip")),
}


@pytest.mark.parametrize("after", ENDS_LOGIN.values(), ids=ENDS_LOGIN)
def test_client_that_loses_users_ends_its_tokens_of_users_only(after: ClientRecord) -> None:
    uid_hash = build_client(WEB, "1").uid_hash
    assert by_client(WEB, after) == RevocationRecord(user_clients={uid_hash: NOW})


@pytest.mark.parametrize("after", KEEPS_LOGIN.values(), ids=KEEPS_LOGIN)
def test_change_of_the_login_that_excludes_nobody_ends_nothing(after: ClientRecord) -> None:
    assert by_client(WEB, after) == NOTHING


def test_login_for_every_group_that_is_narrowed_excludes_users() -> None:
    every_group = replace(WEB, login=replace(LOGIN, allowed_groups=None))
    ended = by_client(every_group, WEB)
    assert ended.user_clients
    only = replace(WEB, login=replace(LOGIN, identity_providers=()))
    ended = by_client(only, WEB)
    assert ended.user_clients, "the only provider may have been another one"


def test_public_client_that_becomes_confidential_ends_its_tokens_of_users() -> None:
    ended = by_client(replace(WEB, public=True), WEB)
    assert ended.user_clients


@pytest.mark.parametrize(
    "after",
    [
        None,
        replace(WEB, disabled=True),
        replace(WEB, uid="another"),
        replace(WEB, grant_types=("authorization_code", "refresh_token")),
        replace(WEB, dpop_required=True),
    ],
    ids=["deleted", "disabled", "recreated", "client_credentials", "dpop"],
)
def test_client_that_ends_altogether_ends_all_its_tokens(after: ClientRecord | None) -> None:
    ended = by_client(WEB, after)
    assert (list(ended.clients), ended.user_clients) == ([build_client(WEB, "1").uid_hash], {})


def test_scope_that_the_manifest_no_longer_asks_for_ends_the_tokens_of_that_client_there() -> None:
    ended = by_client(WEB, replace(WEB, access=(RequestedAccess("payroll/payroll-api", ("payroll.read",)),)))
    assert list(ended.access) == [build_client(WEB, "1").uid_hash]
