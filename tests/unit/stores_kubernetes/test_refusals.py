"""A refusal names its cause, from messages of Kubernetes 1.36, for every status code."""

import base64
import gzip
import hashlib
import json
import textwrap
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopewright.core.failures import Rejected, Unavailable
from scopewright.core.objects import Desired, Ref
from scopewright.stores.kubernetes.answers import NotFound, failure_of
from scopewright.stores.kubernetes.redact import redact, remove_values
from scopewright.stores.kubernetes.refusals import MAX_CHARACTERS, refusal
from scopewright.stores.kubernetes.store import KubernetesStore
from tests.unit.stores_kubernetes.fake_api import FakeApi

POST = "POST /api/v1/namespaces/leave/secrets"
TERMINATING = {"causes": [{"reason": "NamespaceTerminating", "message": "…", "field": "metadata.namespace"}]}


def failure(status: int, message: str, details: dict[str, Any] | None = None, what: str = POST) -> Any:
    response: Any = SimpleNamespace(status=status, reason="Reason", headers={})
    return failure_of(response, {"message": message, "details": details or {}}, what)


@pytest.mark.parametrize("status", [400, 403, 409, 422, 500])
def test_denying_webhook_is_named_for_every_status(status: int) -> None:
    found = failure(status, 'admission webhook "secrets.guard.example" denied the request: label owner is missing')
    assert isinstance(found, Rejected)
    assert found.reason == "AdmissionDenied"
    assert "admission webhook secrets.guard.example" in found.message
    assert "label owner is missing" in found.message


@pytest.mark.parametrize("status", [500, 503, 504])
def test_unavailable_webhook_is_named_and_the_write_retried(status: int) -> None:
    text = (
        'Internal error occurred: failed calling webhook "secrets.guard.example": failed to call webhook: Post '
        '"https://127.0.0.1:1/?timeout=1s": dial tcp 127.0.0.1:1: connect: connection refused'
    )
    found = failure(status, text)
    assert isinstance(found, Unavailable)
    assert found.reason == "WebhookUnavailable"
    assert "admission webhook secrets.guard.example" in found.message


@pytest.mark.parametrize("status", [401, 403, 413, 422])
@pytest.mark.parametrize("kind", ["ValidatingAdmissionPolicy", "MutatingAdmissionPolicy"])
def test_denying_policy_is_named_for_every_status(status: int, kind: str) -> None:
    text = f"secrets \"worker-oauth\" is forbidden: {kind} 'no-secrets' with binding 'everywhere' denied request: no"
    found = failure(status, text)
    assert isinstance(found, Rejected)
    assert found.reason == "AdmissionDenied"
    assert f"{kind} no-secrets denied" in found.message


@pytest.mark.parametrize(
    "text",
    [
        'secrets "worker-oauth" is forbidden: exceeded quota: few, requested: count/secrets=1, used: count/secrets=2',
        'secrets "worker-oauth" is forbidden: failed quota: few: must specify limits',
        'secrets "worker-oauth" is forbidden: status unknown for quota: few, resources: count/secrets',
    ],
)
def test_quota_is_named_and_not_reported_as_missing_permission(text: str) -> None:
    found = failure(403, text)
    assert isinstance(found, Rejected)
    assert found.reason == "QuotaExceeded"
    assert "ResourceQuota few" in found.message
    assert "right is missing" not in found.message


def test_missing_permission_is_recognised() -> None:
    text = 'secrets is forbidden: User "operator" cannot create resource "secrets" in API group "" in namespace "leave"'
    found = failure(403, text)
    assert isinstance(found, Rejected)
    assert found.reason == "Forbidden"
    assert "a right is missing" in found.message


def test_other_admission_plugin_is_not_reported_as_missing_permission() -> None:
    found = failure(403, 'secrets "worker-oauth" is forbidden: it violates something')
    assert isinstance(found, Rejected)
    assert found.reason == "AdmissionDenied"


def test_forbidden_read_is_a_missing_permission() -> None:
    assert failure(403, "forbidden", what="GET /x").reason == "Forbidden"


def test_namespace_being_deleted_is_recognised() -> None:
    text = "unable to create new content in namespace leave because it is being terminated"
    found = failure(403, f'secrets "worker-oauth" is forbidden: {text}', TERMINATING)
    assert isinstance(found, Rejected)
    assert found.reason == "NamespaceTerminating"


def test_immutable_object_is_recognised() -> None:
    found = failure(422, 'Secret "x" is invalid: data: Forbidden: field is immutable when `immutable` is set')
    assert isinstance(found, Rejected)
    assert found.reason == "Immutable"


def test_too_many_requests_and_server_errors_have_reasons() -> None:
    assert failure(429, "slow down").reason == "TooManyRequests"
    assert failure(500, "etcdserver: leader changed").reason == "ServerError"


def test_message_is_one_line_of_bounded_length() -> None:
    found = refusal(403, {"message": 'admission webhook "w" denied the request: ' + "many\nlines " * 10_000}, POST)
    assert found is not None
    assert len(found.message) < MAX_CHARACTERS + 200
    assert "\n" not in found.message


@pytest.mark.parametrize("form", [str, lambda value: base64.b64encode(value.encode()).decode()])
async def test_message_does_not_contain_values_of_the_write(form: Any) -> None:
    value = "sHVyZWx5aXNzZWNyZXQ0Mg"
    api = FakeApi()
    text = f'admission webhook "w" denied the request: {form(value)} is no good'
    api.answer(POST, failure(403, text))
    with pytest.raises(Rejected) as refused:
        await KubernetesStore(api.as_api()).write(
            Desired(Ref("Secret", "leave", "worker-oauth"), {"client_secret": value.encode()}, type="t")
        )
    assert value not in refused.value.message
    assert form(value) not in refused.value.message
    assert "admission webhook w" in refused.value.message


async def test_names_that_are_also_values_stay_in_the_message() -> None:
    api = FakeApi()
    api.answer(POST, failure(403, 'admission webhook "leave-4f7b55ba.guard" denied the request: not in leave-4f7b55ba'))
    entries = {"client_id": b"leave-4f7b55ba.worker", "issuer": b"https://issuer.example.org"}
    with pytest.raises(Rejected, match=r"leave-4f7b55ba\.guard.*not in leave-4f7b55ba"):
        await KubernetesStore(api.as_api()).write(Desired(Ref("Secret", "leave", "worker-oauth"), entries, type="t"))


async def test_message_does_not_contain_the_beginning_of_a_truncated_value() -> None:
    value = "k" * 20 + "A" * 2 * MAX_CHARACTERS
    api = FakeApi()
    api.answer(POST, failure(403, f'admission webhook "w" denied the request: no {value}'))
    with pytest.raises(Rejected) as refused:
        await KubernetesStore(api.as_api()).write(
            Desired(Ref("Secret", "leave", "worker-oauth"), {"client_secret": value.encode()}, type="t")
        )
    assert "kkkk" not in refused.value.message
    assert "AAAA" not in refused.value.message


def _jwk(secret: bytes) -> str:
    d = base64.urlsafe_b64encode(secret).decode().rstrip("=")
    return json.dumps({"kty": "EC", "crv": "P-256", "d": d, "kid": "k"}, separators=(",", ":"))


def _pem(secret: bytes) -> str:
    body = base64.encodebytes(bytes(35) + secret).decode()
    return f"-----BEGIN PRIVATE KEY-----\n{body}-----END PRIVATE KEY-----\n"


def _indented(value: str) -> str:
    return json.dumps(json.loads(value), indent=1) if value.startswith("{") else value


VALUES: dict[str, Callable[[bytes], str]] = {
    "secret": lambda secret: base64.urlsafe_b64encode(secret).decode().rstrip("="),
    "hex": bytes.hex,
    "JWK": _jwk,
    "PEM": _pem,
}
ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "a part": lambda value: f"x={value[3:]}",
    "JSON": json.dumps,
    "JSON in JSON": lambda value: json.dumps(json.dumps({"data": value})),
    "other blanks": _indented,
    "base64": lambda value: base64.b64encode(value.encode()).decode(),
    "base64url": lambda value: base64.urlsafe_b64encode(value.encode()).decode(),
    "base64 of a JSON document": lambda value: base64.b64encode(json.dumps({"a": value}).encode()).decode(),
    "base64 twice": lambda value: base64.b64encode(base64.b64encode(value.encode())).decode(),
    "base64 at 76 columns": lambda value: base64.encodebytes(value.encode()).decode(),
    "20 columns": lambda value: "\n".join(textwrap.wrap(value, 20)),
    "hexadecimal": lambda value: value.encode().hex(),
    "hexadecimal by byte": lambda value: value.encode().hex(" "),
    "hexadecimal with colons": lambda value: value.encode().hex(":"),
    "bytes": lambda value: str(list(value.encode())),
    "bytes as Go prints them": lambda value: str(list(value.encode())).replace(",", ""),
    "gzip": lambda value: base64.b64encode(gzip.compress(value.encode())).decode(),
    "URL": lambda value: "".join(f"%{byte:02X}" for byte in value.encode()),
}
PUBLIC = {"BEGIN", "END", "PRIVATE", "KEY", "kty", "EC", "crv", "P", "256", "d", "kid", "k"}
TEXT = (
    'admission webhook "secrets.guard.example" denied the request: the Secret worker-oauth in leave holds {} and has '
    "no label owner"
)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("value", VALUES)
@given(secret=st.binary(max_size=32))
def test_message_does_not_contain_an_encoded_value(value: str, encoding: str, secret: bytes) -> None:
    """At most the end of its last line stays. Secrets are random, so that no part is a word."""
    quoted = ENCODINGS[encoding](VALUES[value](hashlib.sha256(secret).digest()))
    found = redact(" ".join(TEXT.format(quoted).split()), {"worker-oauth", "leave"})
    before, _, after = TEXT.partition("{}")
    assert found.startswith(before), found
    left = "".join(c if c.isalnum() else " " for c in found.removeprefix(before).removesuffix(after)).split()
    assert sum(len(part) for part in left if part not in PUBLIC) < 12, found


def test_reason_stays_in_the_message() -> None:
    for text in (
        'admission webhook "secrets.guard.example" denied the request: label owner is missing on leave/worker-oauth',
        "ValidatingAdmissionPolicy 'no-secrets' with binding 'everywhere' denied request: Secrets aren't allowed here.",
        "exceeded quota: few, requested: count/secrets=1, used: count/secrets=2, limited: count/secrets=2",
        'User "system:serviceaccount:scopewright-system:scopewright-operator" cannot create resource "secrets" in it',
        'Post "https://127.0.0.1:1/?timeout=1s": dial tcp 127.0.0.1:1: connect: connection refused',
        "the API server refused POST /api/v1/namespaces/leave/secrets: over 1000 of pod worker-7d9f8b6c5-x2x4z",
    ):
        assert redact(text, set()) == text


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        ('admission webhook "{}" denied the request: {value}', "admission webhook {} denied"),
        ('failed calling webhook "{}": {value}', "admission webhook {} does not answer"),
        ("x is forbidden: ValidatingAdmissionPolicy '{}' with binding 'b' denied request: {value}", "Policy {} denied"),
        ("x is forbidden: exceeded quota: {}, requested: {value}", "ResourceQuota {} is exceeded"),
    ],
)
def test_webhook_or_policy_is_named_for_every_name(text: str, prefix: str) -> None:
    name, value = "x1-y2-z3-0f9e8d7c6b5a4.guard", "sHVyZWx5aXNzZWNyZXQ0Mg"
    found = failure(403, text.format(name, value=value))
    remove_values(found, {"kind": "Secret", "metadata": {"name": "worker-oauth", "namespace": "leave"}})
    assert prefix.format(name) in found.message
    assert value not in found.message


def test_404_contains_no_value_and_a_config_map_is_not_redacted() -> None:
    missing = NotFound("no sHVyZWx5aXNzZWNyZXQ0Mg", named=False)
    remove_values(missing, {"kind": "Secret", "metadata": {"name": "worker-oauth", "namespace": "leave"}})
    assert str(missing) == "no …"
    refusal = Rejected("Refused", "of {x}")
    remove_values(refusal, {"kind": "ConfigMap", "metadata": {}})
    assert refusal.message == "of {x}"
