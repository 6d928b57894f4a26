"""`hosts=` and `allow_http=` accept host names only."""

import pytest

from scopewright.client import ClientCredentials
from scopewright.origins import host_names
from scopewright.verifier import Verifier


def test_host_names_are_lower_cased_and_may_have_a_port() -> None:
    assert host_names("hosts=", ["Payroll.svc", "leave.svc:8080", "[::1]"]) == {
        "payroll.svc",
        "leave.svc:8080",
        "[::1]",
    }
    assert host_names("hosts=", "payroll.svc") == {"payroll.svc"}


@pytest.mark.parametrize("name", ["http://payroll.svc", "payroll.svc/path", "*", "*.svc", "a b", "", 7])
def test_value_that_is_not_a_host_is_refused_with_an_example(name: object) -> None:
    with pytest.raises(ValueError, match=r"allow_http= takes hosts such as payroll\.payroll\.svc"):
        host_names("allow_http=", [name])  # type: ignore[list-item]


@pytest.mark.parametrize("value", [True, 1, None])
def test_value_that_is_not_a_collection_is_a_type_error_with_an_example(value: object) -> None:
    expected = r'takes host names, such as \("payroll\.payroll\.svc",\), and not'
    with pytest.raises(TypeError, match=f"allow_http= {expected}"):
        ClientCredentials("/secret", allow_http=value)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=f"hosts= {expected}"):
        ClientCredentials("/secret", hosts=value)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=f"allow_http= {expected}"):
        Verifier("https://issuer.example", "https://api.example", allow_http=value)  # type: ignore[arg-type]
