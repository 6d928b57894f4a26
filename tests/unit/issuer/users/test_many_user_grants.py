"""A record with many grants to users does not keep the issuer from answering."""

from dataclasses import replace
from datetime import timedelta

import pytest

from scopewright.core.records.resource_server import ResourceServerRecord, UserGrant
from scopewright.issuer.state import user_access_removal
from scopewright.issuer.state.user_access_removal import users_lost_access
from tests.harness.clock import START
from tests.harness.samples import server_record

SCOPES = ("payroll.read", "payroll.write")
NOW = START.timestamp()


def api(entries: int) -> ResourceServerRecord:
    grants = (UserGrant(SCOPES, groups=(f"group-{n}",), namespaces=("hr",)) for n in range(entries))
    return server_record(user_grants=tuple(grants))


def changed(record: ResourceServerRecord) -> ResourceServerRecord:
    """Every entry gets an end after that of each token, as one new label of a namespace changes every entry."""
    end = START + timedelta(days=30)
    return replace(record, user_grants=tuple(replace(g, not_after=end) for g in record.user_grants))


def test_a_change_of_a_few_entries_is_compared_in_full() -> None:
    assert not users_lost_access(api(100), changed(api(100)), NOW)


def test_a_change_of_many_entries_is_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Users' tokens for this API end. A comparison of a full record would take minutes."""
    monkeypatch.setattr(user_access_removal, "_is_lost", lambda *_: pytest.fail("compared"))
    assert users_lost_access(api(2000), changed(api(2000)), NOW)


def test_a_new_entry_beside_many_others_ends_no_token() -> None:
    before, more = api(2000), UserGrant(SCOPES, all_users=True, everybody=True)
    assert not users_lost_access(before, replace(before, user_grants=(*before.user_grants, more)), NOW)
