"""Which API a request is for: by hostname and the longest base path, in whole segments."""

import pytest

from scopewright.core.records.resource_server import HostnameClaim
from scopewright.gateway.apis import ApiTable, GatewayApi
from scopewright.gateway.refusals import GatewayReason, GatewayRefused
from scopewright.verifier import Verifier
from scopewright.verifier.canonical_path import canonical_path
from tests.unit.gateway.support import rules
from tests.unit.verifier.support import AUDIENCE, ISSUER

HOST = "api.hr.example"


def api(key: str, base_path: str = "/", hostname: str = HOST, *, case_sensitive: bool = True) -> GatewayApi:
    listed = rules(basePath=base_path, caseSensitive=case_sensitive)
    return GatewayApi(key, (hostname,), listed, Verifier(ISSUER, AUDIENCE))


def claim(key: str, base_path: str, hostname: str = HOST) -> HostnameClaim:
    namespace, _, name = key.partition("/")
    return HostnameClaim(hostname, base_path, namespace, name)


def found(table: ApiTable, path: str, hostname: str = HOST) -> tuple[str, str]:
    """The key of the API, and the path below its base path."""
    chosen, below = table.find(hostname, canonical_path(path.encode()))
    return chosen.key, "/" + "/".join(below)


def refusal(table: ApiTable, path: str, hostname: str = HOST) -> GatewayReason:
    with pytest.raises(GatewayRefused) as caught:
        found(table, path, hostname)
    return caught.value.reason


def test_longest_base_path_decides() -> None:
    table = ApiTable([api("web/web"), api("hr/payroll", "/payroll"), api("hr/archive", "/payroll/archive")])
    assert found(table, "/") == ("web/web", "/")
    assert found(table, "/payrolls/7") == ("web/web", "/payrolls/7")
    assert found(table, "/payroll") == ("hr/payroll", "/")
    assert found(table, "/payroll/7/") == ("hr/payroll", "/7")
    assert found(table, "/payroll/archive/2025") == ("hr/archive", "/2025")
    assert found(table, "/payroll/archives") == ("hr/payroll", "/archives")


def test_hostname_or_path_without_an_api_is_refused() -> None:
    table = ApiTable([api("hr/payroll", "/payroll")])
    assert refusal(table, "/payroll", "other.example") is GatewayReason.NO_API
    assert refusal(table, "/") is GatewayReason.NO_API
    assert refusal(table, "/Payroll/7") is GatewayReason.NO_API
    assert refusal(ApiTable(), "/payroll") is GatewayReason.NO_API


def test_requests_of_a_deleted_api_are_not_those_of_the_api_around_it() -> None:
    claims = [claim("web/web", "/"), claim("hr/payroll", "/payroll")]
    both = ApiTable([api("web/web"), api("hr/payroll", "/payroll")], claims)
    assert found(both, "/payroll/7") == ("hr/payroll", "/7")
    after = ApiTable([api("web/web")], claims)
    assert refusal(after, "/payroll/7") is GatewayReason.NO_API
    assert refusal(after, "/PAYROLL/7") is GatewayReason.AMBIGUOUS_CASE
    assert found(after, "/other") == ("web/web", "/other")
    assert refusal(ApiTable([], claims), "/other") is GatewayReason.NO_API


def test_api_that_has_moved_gives_up_its_earlier_path() -> None:
    table = ApiTable([api("hr/payroll", "/")], [claim("hr/payroll", "/payroll"), claim("hr/payroll", "/")])
    assert found(table, "/payroll/7") == ("hr/payroll", "/payroll/7")


def test_claim_that_its_api_does_not_serve_refuses() -> None:
    """The platform has withdrawn one of its two hostnames, or the API has moved: the service may still be there."""
    claims = [claim("web/web", "/"), claim("hr/payroll", "/payroll"), claim("hr/payroll", "/", "payroll.example")]
    withdrawn = ApiTable([api("web/web"), api("hr/payroll", "/", "payroll.example")], claims)
    moved = ApiTable([api("web/web"), api("hr/payroll", "/pay")], claims)
    for table in (withdrawn, moved):
        assert refusal(table, "/payroll/7") is GatewayReason.NO_API
        assert found(table, "/other") == ("web/web", "/other")
    assert refusal(moved, "/", "payroll.example") is GatewayReason.NO_API
    assert found(withdrawn, "/", "payroll.example") == ("hr/payroll", "/")


def test_order_of_claims_has_no_meaning() -> None:
    claims = [claim("hr/payroll", "/a/b"), claim("hr/gone", "/a")]
    for ordered in (claims, claims[::-1]):
        table = ApiTable([api("hr/payroll")], ordered)
        assert found(table, "/b") == ("hr/payroll", "/b")
        assert refusal(table, "/a") is GatewayReason.NO_API
        assert refusal(table, "/a/b") is GatewayReason.NO_API


def test_claim_of_an_api_without_hostnames_refuses() -> None:
    """Its record is in the table, and the platform has withdrawn its hostnames."""
    without = GatewayApi("hr/payroll", (), rules(basePath="/payroll"), Verifier(ISSUER, AUDIENCE))
    table = ApiTable([api("web/web"), without], [claim("hr/payroll", "/payroll")])
    assert refusal(table, "/payroll/7") is GatewayReason.NO_API


def test_base_path_of_two_apis_refuses_the_requests_of_both() -> None:
    table = ApiTable([api("a/a", "/x"), api("b/b", "/x"), api("c/c")])
    assert refusal(table, "/x/7") is GatewayReason.NO_API
    assert found(table, "/y") == ("c/c", "/y")


def test_path_that_leads_to_another_api_in_another_case_is_refused() -> None:
    """A proxy that ignores case would send it to the service of the other API."""
    for case_sensitive in (True, False):
        table = ApiTable([api("web/web"), api("hr/kiosk", "/kiosk", case_sensitive=case_sensitive)])
        assert found(table, "/kiosk/x") == ("hr/kiosk", "/x")
        for path in ("/Kiosk/x", "/KIOSK", "/%E2%84%AAiosk", "/kio%C5%BFk"):  # Kelvin sign, long s
            assert refusal(table, path) is GatewayReason.AMBIGUOUS_CASE


def test_api_without_case_is_found_in_any_case() -> None:
    table = ApiTable([api("hr/payroll", "/Pay/Roll", case_sensitive=False)])
    for path in ("/Pay/Roll/7", "/pay/roll/7", "/PAY/ROLL/7"):
        assert found(table, path) == ("hr/payroll", "/7")
    assert refusal(table, "/pay") is GatewayReason.NO_API


def test_two_apis_whose_base_paths_differ_in_case_alone_are_refused_if_one_ignores_case() -> None:
    table = ApiTable([api("a/a", "/x"), api("b/b", "/X", case_sensitive=False)])
    assert found(ApiTable([api("a/a", "/x")]), "/x") == ("a/a", "/")
    assert {refusal(table, path) for path in ("/x/7", "/X/7")} == {GatewayReason.AMBIGUOUS_CASE}
