"""Cases for every CEL rule: valid manifests and manifests that break the rule.

The unit tests pass each case to `scopewright.api.validation`, the cluster tests to an API server. Both must report the
same errors, at the same path and with the same message.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from scopewright.api import API_VERSION, KINDS
from scopewright.api.meta import Model
from scopewright.api.rules import CelRule
from tests.cases.http_rules import HTTP_RULES, MALFORMED_HTTP
from tests.cases.login_rules import ACCEPTED, MALFORMED_URIS, PRIVATE_USE, REFUSED, WEB, login, public
from tests.cases.provider_rules import MALFORMED_PROVIDERS, OPENID, PROVIDER_RULES, PROVIDER_UPDATES

Manifest = dict[str, Any]

SPECS: dict[str, dict[str, Any]] = {
    "OAuthClient": {"access": [{"resourceServer": "payroll-api", "namespace": "payroll", "scopes": ["payroll.read"]}]},
    "ResourceServer": {"scopes": [{"name": "payroll.read", "description": "Read salaries"}]},
    "ScopeGrant": {
        "resourceServer": "payroll-api",
        "scopes": ["payroll.read"],
        "to": [{"namespace": "leave", "client": "leave-worker"}],
    },
    "SigningKey": {"algorithm": "ES256"},
    "IdentityProvider": {"oidc": OPENID},
}
"""A valid spec of each kind; a case replaces members of it, or removes them with None."""


def manifest(kind: str, spec: dict[str, Any] | None = None, name: str = "an-object") -> Manifest:
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {"name": name, "namespace": "default"},
        "spec": copy.deepcopy(
            {n: v for n, v in (SPECS[kind] | (spec or {})).items() if v is not None or n not in SPECS[kind]}
        ),
    }


def rules() -> dict[str, CelRule]:
    """Return all rules of all models, by id."""
    return {rule.id: rule for model in _models(Model) for rule in model.RULES}


def _models(model: type[Model]) -> Iterator[type[Model]]:
    yield model
    for below in model.__subclasses__():
        yield from _models(below)


@dataclass(frozen=True)
class Case:
    """A spec that satisfies a rule (`path` is None) or breaks it at `path`. With `before`, an update from that spec."""

    rule: str
    kind: str
    spec: dict[str, Any] = field(hash=False)
    path: str | None = None
    name: str = "an-object"
    before: dict[str, Any] | None = field(default=None, hash=False)

    @property
    def manifest(self) -> Manifest:
        return manifest(self.kind, self.spec, self.name)

    def __str__(self) -> str:
        return f"{self.kind}-{self.rule}-{'kept' if self.path is None else 'broken'}"


_P256 = {"kty": "EC", "crv": "P-256", "x": "x" * 43, "y": "y" * 43}
_P384 = {"kty": "EC", "crv": "P-384", "x": "x" * 64, "y": "y" * 64}
_ED25519 = {"kty": "OKP", "crv": "Ed25519", "x": "x" * 43}
_RSA = {"kty": "RSA", "n": "n" * 342, "e": "AQAB"}
_KEY = "spec.authentication.jwks.keys[0]"
_SERVICE_ACCOUNT = "spec.authentication.serviceAccount"


def _window(**window: Any) -> dict[str, Any]:
    return {"rotation": {"windows": [{"start": "02:00", **window}]}}


def _jwks(*keys: dict[str, Any]) -> dict[str, Any]:
    return {"authentication": {"method": "PrivateKeyJWT", "jwks": {"keys": list(keys)}}}


def _service_account(**named: str) -> dict[str, Any]:
    return {"authentication": {"method": "ServiceAccount", "serviceAccount": {"name": "leave-worker", **named}}}


def _without(key: dict[str, Any], member: str) -> dict[str, Any]:
    return {name: value for name, value in key.items() if name != member}


def _access(*entries: tuple[str, str | None]) -> dict[str, Any]:
    return {
        "access": [
            {"resourceServer": server, "scopes": ["read"]} | ({"namespace": namespace} if namespace else {})
            for server, namespace in entries
        ]
    }


def _scopes(*counts: int) -> dict[str, Any]:
    """One entry of access for each number of scopes."""
    return {
        "access": [
            {"resourceServer": f"api-{index}", "scopes": [f"s{n}" for n in range(count)]}
            for index, count in enumerate(counts)
        ]
    }


def _template(labels_or_annotations: str, **entries: str) -> dict[str, Any]:
    return {"credentials": {"secretTemplate": {labels_or_annotations: entries}}}


def _to(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"to": list(entries)}


_SUBJECT = "u-eqopylxvxodwytulpl47jjakh7"
_THROUGH = {"namespace": "hr", "client": "hr-web"}
_ALL_USERS: dict[str, Any] = {"allUsers": True, "through": _THROUGH}


def _to_users(*entries: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"toUsers": list(entries)} | spec


def _through(**through: Any) -> dict[str, Any]:
    return _to_users({"allUsers": True, "through": through})


def _selector(**selector: Any) -> dict[str, Any]:
    return _to({"namespaceSelector": selector})


def _expression(operator: str, *values: str, given: bool = True) -> dict[str, Any]:
    expression = {"key": "team", "operator": operator} | ({"values": list(values)} if given else {})
    return _selector(matchExpressions=[expression])


def _many_values(grantees: int, values: int) -> dict[str, Any]:
    expression = {"key": "team", "operator": "In", "values": [f"v{n}" for n in range(values)]}
    return _to(*[{"namespaceSelector": {"matchLabels": {"a": "b"}, "matchExpressions": [expression]}}] * grantees)


def _many_users(grantees: int, values: int) -> dict[str, Any]:
    selections = _many_values(grantees, values)["to"]
    return _to_users(*({"allUsers": True, "through": selection} for selection in selections))


_EXPRESSION = "spec.to[0].namespaceSelector.matchExpressions[0].values"

_NAMES = [
    case
    for kind in KINDS
    for case in (
        Case("name-is-a-dns-label", kind, {}, name="a" * 63),
        Case("name-is-a-dns-label", kind, {}, name="1-a"),
        Case("name-is-a-dns-label", kind, {}, "", name="a" * 64),
        Case("name-is-a-dns-label", kind, {}, "", name="a.b"),
    )
]

_AUTHENTICATION = [
    Case("service-account-named", "OAuthClient", {"authentication": {"method": "ClientSecret"}}),
    Case(
        "service-account-named",
        "OAuthClient",
        _service_account(),
    ),
    Case(
        "service-account-named",
        "OAuthClient",
        {"authentication": {"method": "ServiceAccount"}},
        "spec.authentication.serviceAccount",
    ),
    Case(
        "service-account-only-with-its-method",
        "OAuthClient",
        _service_account(name="a.b", cluster="eu-1", uid="5c9a"),
    ),
    Case(
        "service-account-only-with-its-method",
        "OAuthClient",
        {"authentication": {"serviceAccount": {"name": "leave-worker"}}},
        "spec.authentication.serviceAccount",
    ),
    Case("service-account-uid-with-another-cluster", "OAuthClient", _service_account(cluster="in-cluster")),
    Case("service-account-uid-with-another-cluster", "OAuthClient", _service_account(cluster="eu-1", uid="5c9a")),
    Case(
        "service-account-uid-with-another-cluster",
        "OAuthClient",
        _service_account(cluster="eu-1"),
        f"{_SERVICE_ACCOUNT}.uid",
    ),
    Case("service-account-uid-only-with-another-cluster", "OAuthClient", _service_account()),
    *(
        Case(
            "service-account-uid-only-with-another-cluster",
            "OAuthClient",
            _service_account(uid="5c9a", **cluster),
            f"{_SERVICE_ACCOUNT}.uid",
        )
        for cluster in ({}, {"cluster": "in-cluster"})
    ),
    Case("jwks-only-with-its-method", "OAuthClient", _jwks()),
    Case("jwks-only-with-its-method", "OAuthClient", _jwks(_P256)),
    Case(
        "jwks-only-with-its-method",
        "OAuthClient",
        {"authentication": {"jwks": {"keys": [_P256]}}},
        "spec.authentication.jwks",
    ),
]

_JWKS = [
    Case("jwks-kids-unique", "OAuthClient", _jwks(_P256)),
    Case("jwks-kids-unique", "OAuthClient", _jwks(_P256, {**_P256, "kid": "b"}, {**_RSA, "kid": "c"})),
    Case("jwks-kids-unique", "OAuthClient", _jwks(_P256, _RSA), "spec.authentication.jwks.keys"),
    Case(
        "jwks-kids-unique",
        "OAuthClient",
        _jwks({**_P256, "kid": "a"}, {**_RSA, "kid": "a"}),
        "spec.authentication.jwks.keys",
    ),
    Case("jwk-is-public", "OAuthClient", _jwks(_P384)),
    *(
        Case("jwk-is-public", "OAuthClient", _jwks({**_RSA, member: "c2VjcmV0"}), _KEY)
        for member in ("d", "p", "q", "dp", "dq", "qi", "k")
    ),
    Case("jwk-is-public", "OAuthClient", _jwks({**_RSA, "oth": [{"r": "YQ", "d": "YQ", "t": "YQ"}]}), _KEY),
    Case("jwk-ec-complete", "OAuthClient", _jwks(_P384)),
    Case("jwk-ec-complete", "OAuthClient", _jwks(_without(_P256, "crv")), _KEY),
    Case("jwk-ec-complete", "OAuthClient", _jwks(_without(_P256, "y")), _KEY),
    Case("jwk-ec-complete", "OAuthClient", _jwks({**_P256, "crv": "P-384"}), _KEY),
    Case("jwk-ec-complete", "OAuthClient", _jwks({**_P256, "crv": "Ed25519"}), _KEY),
    Case("jwk-okp-complete", "OAuthClient", _jwks(_ED25519)),
    Case("jwk-okp-complete", "OAuthClient", _jwks(_without(_ED25519, "x")), _KEY),
    Case("jwk-okp-complete", "OAuthClient", _jwks({**_ED25519, "crv": "P-256"}), _KEY),
    Case("jwk-rsa-complete", "OAuthClient", _jwks(_RSA)),
    Case("jwk-rsa-complete", "OAuthClient", _jwks(_without(_RSA, "e")), _KEY),
    Case("jwk-rsa-complete", "OAuthClient", _jwks(_without(_RSA, "n")), _KEY),
    Case("jwk-rsa-long-enough", "OAuthClient", _jwks({**_RSA, "n": "n" * 683})),
    Case("jwk-rsa-short-enough", "OAuthClient", _jwks({**_RSA, "n": "n" * 683})),
    Case("jwk-rsa-short-enough", "OAuthClient", _jwks({**_RSA, "n": "n" * 684}), f"{_KEY}.n"),
    Case("jwk-rsa-short-enough", "OAuthClient", _jwks({**_RSA, "n": "n" * 1024}), f"{_KEY}.n"),
    Case("jwk-rsa-exponent", "OAuthClient", _jwks(_RSA)),
    Case("jwk-rsa-exponent", "OAuthClient", _jwks({**_RSA, "e": "Aw"}), f"{_KEY}.e"),
    Case("jwk-rsa-exponent", "OAuthClient", _jwks({**_RSA, "e": "_____________w"}), f"{_KEY}.e"),
    Case("jwk-rsa-long-enough", "OAuthClient", _jwks({**_RSA, "n": "n" * 171}), f"{_KEY}.n"),
    *(
        Case("jwk-alg-fits", "OAuthClient", _jwks({**key, "alg": alg, "use": "sig"}))
        for key, alg in (
            (_P256, "ES256"),
            (_P384, "ES384"),
            (_RSA, "RS256"),
            (_RSA, "PS256"),
            (_ED25519, "EdDSA"),
            (_ED25519, "Ed25519"),
        )
    ),
    *(
        Case("jwk-alg-fits", "OAuthClient", _jwks({**key, "alg": alg}), f"{_KEY}.alg")
        for key, alg in (
            (_P256, "ES384"),
            (_P384, "ES256"),
            (_RSA, "ES256"),
            (_ED25519, "RS256"),
            (_without(_P256, "crv"), "ES256"),
        )
    ),
]

_CLIENT = [
    Case("access-resource-servers-unique", "OAuthClient", _access(("a", None), ("a", "x"), ("a", "y"), ("b", "x"))),
    Case("access-resource-servers-unique", "OAuthClient", {"access": []}),
    Case("access-resource-servers-unique", "OAuthClient", _access(("a", "x"), ("b", "x"), ("a", "x")), "spec.access"),
    Case("access-resource-servers-unique", "OAuthClient", _access(("a", None), ("a", None)), "spec.access"),
    Case("access-scopes-are-bounded", "OAuthClient", _scopes(64, 64, 64, 64)),
    Case("access-scopes-are-bounded", "OAuthClient", _scopes(*[4] * 64)),
    Case("access-scopes-are-bounded", "OAuthClient", _scopes(64, 64, 64, 64, 1), "spec.access"),
    Case("access-scopes-are-bounded", "OAuthClient", _scopes(*[64] * 64), "spec.access"),
    Case("rotation-every-at-least-a-minute", "OAuthClient", {"rotation": {"every": "1m", "overlap": "0s"}}),
    Case(
        "rotation-every-at-least-a-minute",
        "OAuthClient",
        {"rotation": {"every": "59s999ms", "overlap": "0s"}},
        "spec.rotation.every",
    ),
    Case("overlap-within-every", "OAuthClient", {"rotation": {"every": "24h"}}),
    Case("overlap-within-every", "OAuthClient", {"rotation": {"overlap": "43200m"}}),
    Case("overlap-within-every", "OAuthClient", {"rotation": {"every": "12h"}}, "spec.rotation.overlap"),
    Case("overlap-within-every", "OAuthClient", {"rotation": {"overlap": "720h1ms"}}, "spec.rotation.overlap"),
    Case("max-overlap-at-least-overlap", "OAuthClient", {"rotation": {"overlap": "24h", "maxOverlap": "24h"}}),
    Case(
        "max-overlap-at-least-overlap",
        "OAuthClient",
        {"rotation": {"overlap": "24h", "maxOverlap": "23h"}},
        "spec.rotation.maxOverlap",
    ),
    Case("credential-every-has-no-days", "OAuthClient", {"rotation": {"every": "720h"}}),
    Case("credential-every-has-no-days", "OAuthClient", {"rotation": {"every": "30d"}}, "spec.rotation.every"),
    Case("credential-overlap-has-no-days", "OAuthClient", {"rotation": {"overlap": "24h"}}),
    Case("credential-overlap-has-no-days", "OAuthClient", {"rotation": {"overlap": "1d"}}, "spec.rotation.overlap"),
    Case("credential-maxOverlap-has-no-days", "OAuthClient", {"rotation": {"maxOverlap": "48h"}}),
    Case(
        "credential-maxOverlap-has-no-days",
        "OAuthClient",
        {"rotation": {"maxOverlap": "1d12h"}},
        "spec.rotation.maxOverlap",
    ),
    Case("window-duration-has-no-days", "OAuthClient", _window(duration="24h")),
    Case("window-duration-has-no-days", "OAuthClient", _window(duration="1d"), "spec.rotation.windows[0].duration"),
    Case("window-duration-in-range", "OAuthClient", _window(duration="10m", days=["Sat", "Sun"])),
    Case("window-duration-in-range", "OAuthClient", _window(duration="24h", timeZone="America/Argentina/Ushuaia")),
    Case("window-duration-in-range", "OAuthClient", _window(duration="9m"), "spec.rotation.windows[0].duration"),
    Case("window-duration-in-range", "OAuthClient", _window(duration="24h1s"), "spec.rotation.windows[0].duration"),
    *(
        case
        for kind in ("labels", "annotations")
        for case in (
            Case(f"secret-{kind}-not-reserved", "OAuthClient", _template(kind, team="hr")),
            Case(f"secret-{kind}-not-reserved", "OAuthClient", _template(kind, **{"notkubernetes.io/team": "hr"})),
            Case(f"secret-{kind}-not-reserved", "OAuthClient", _template(kind, **{"kubernetes.io.example/x": "hr"})),
            Case(f"secret-{kind}-not-reserved", "OAuthClient", _template(kind, **{"app.kubernetes.io/part-of": "hr"})),
            *(
                Case(
                    f"secret-{kind}-not-reserved",
                    "OAuthClient",
                    _template(kind, team="hr", **{key: "x"}),
                    f"spec.credentials.secretTemplate.{kind}",
                )
                for key in (
                    "scopewright.dev/seal",
                    "kubernetes.io/metadata.name",
                    "my.app.kubernetes.io/name",
                    "app.kubernetes.io/managed-by",
                    "a.b.kubernetes.io/c",
                    "argocd.argoproj.io/instance",
                )
            ),
            Case(f"secret-{kind}-have-valid-keys", "OAuthClient", _template(kind, **{"hr.example/Team_1.a": "x"})),
            Case(f"secret-{kind}-have-valid-keys", "OAuthClient", _template(kind, **{"t" * 63: "x"})),
            *(
                Case(
                    f"secret-{kind}-have-valid-keys",
                    "OAuthClient",
                    _template(kind, **{key: "x"}),
                    f"spec.credentials.secretTemplate.{kind}",
                )
                for key in ("a b", "a/b/c", "-a", "", "t" * 64, "HR.example/team", "a..b/c", "a" * 252 + "/c")
            ),
        )
    ),
    Case(
        "secret-keys-unique", "OAuthClient", {"credentials": {"keys": {"clientID": "CLIENT_ID", "scope": "client_id"}}}
    ),
    Case(
        "secret-keys-unique", "OAuthClient", {"credentials": {"keys": {"scope": "client_id"}}}, "spec.credentials.keys"
    ),
    Case("secret-keys-unique", "OAuthClient", {"credentials": {"keys": {"jwksURI": "type"}}}, "spec.credentials.keys"),
    Case(
        "secret-keys-unique",
        "OAuthClient",
        {"credentials": {"keys": {"audience": "provider"}}},
        "spec.credentials.keys",
    ),
]

_AUDIENCES = {
    "audience-without-fragment": (
        ("https://payroll.hr.example", "urn-like://payroll"),
        ("https://payroll.hr.example#a", "https://payroll.hr.example?a=b"),
    ),
    "audience-without-userinfo": (
        ("https://payroll.hr.example/@team",),
        ("https://admin@payroll.hr.example", "https://a:b@payroll.hr.example/c"),
    ),
    "audience-canonical": (
        (
            "https://payroll.hr.example/v1/salaries",
            "https://payroll.hr.example:8443",
            "http://payroll.hr.example:443",
            "api://payroll",
            "https://payroll.hr.example/a..b/.well-known",
            "https://10.0.0.1",
        ),
        (
            "payroll",
            "payroll.hr.example",
            "urn:example:payroll",
            "https:///payroll",
            "HTTPS://payroll.hr.example",
            "https://Payroll.hr.example",
            "https://payroll.hr.example/",
            "https://payroll.hr.example//v1",
            "https://payroll.hr.example/v1/",
            "https://payroll.hr.example/./v1",
            "https://payroll.hr.example/v1/..",
            "https://payroll.hr.example:443",
            "https://payroll.hr.example:443/v1",
            "http://payroll.hr.example:80",
            "https://payroll.hr.example:0443",
            "https://payroll.hr.example.",
            "https://payroll..example",
            "https://-payroll.example",
        ),
    ),
}

_SERVER = [
    *(Case(rule, "ResourceServer", {"audience": good}) for rule, (kept, _) in _AUDIENCES.items() for good in kept),
    *(
        Case(rule, "ResourceServer", {"audience": bad}, "spec.audience")
        for rule, (_, broken) in _AUDIENCES.items()
        for bad in broken
    ),
    Case("audience-canonical", "ResourceServer", {}),
    Case("token-lifetime-has-no-days", "ResourceServer", {"tokens": {"lifetime": "24h"}}),
    Case("token-lifetime-has-no-days", "ResourceServer", {"tokens": {"lifetime": "1d"}}, "spec.tokens.lifetime"),
    Case("lifetime-at-least-a-second", "ResourceServer", {"tokens": {"lifetime": "1s"}}),
    Case("lifetime-at-least-a-second", "ResourceServer", {"tokens": {"lifetime": "999ms"}}, "spec.tokens.lifetime"),
    *(Case(rule, "ResourceServer", spec) for rule, (kept, _) in HTTP_RULES.items() for spec in kept),
    *(Case(rule, "ResourceServer", spec, path) for rule, (_, broken) in HTTP_RULES.items() for spec, path in broken),
]

_GRANT = [
    Case("grantee-has-exactly-one", "ScopeGrant", _to({"namespace": "a"}, {"allNamespaces": True})),
    Case("grantee-has-exactly-one", "ScopeGrant", _to({"namespaceSelector": {"matchLabels": {"team": "hr"}}})),
    Case("grantee-has-exactly-one", "ScopeGrant", _to({}), "spec.to[0]"),
    Case("grantee-has-exactly-one", "ScopeGrant", _to({"client": "a"}), "spec.to[0]"),
    Case("grantee-has-exactly-one", "ScopeGrant", _to({"namespace": "a", "allNamespaces": True}), "spec.to[0]"),
    Case(
        "grantee-has-exactly-one",
        "ScopeGrant",
        _to({"namespace": "b"}, {"namespace": "a", "namespaceSelector": {"matchLabels": {"team": "hr"}}}),
        "spec.to[1]",
    ),
    Case("grantee-client-needs-namespace", "ScopeGrant", _to({"namespace": "a", "client": "b"})),
    Case(
        "grantee-client-needs-namespace", "ScopeGrant", _to({"allNamespaces": True, "client": "b"}), "spec.to[0].client"
    ),
    Case("grantee-all-namespaces-is-true", "ScopeGrant", _to({"allNamespaces": True})),
    Case("grantee-all-namespaces-is-true", "ScopeGrant", _to({"allNamespaces": False}), "spec.to[0].allNamespaces"),
    Case("selectors-are-bounded", "ScopeGrant", _many_values(3, 63)),
    Case("selectors-are-bounded", "ScopeGrant", _many_values(4, 64), "spec.to"),
    Case("selectors-are-bounded", "ScopeGrant", _many_values(64, 64), "spec.to"),
    Case("grants-something", "ScopeGrant", {"scopes": [], "roles": ["manager"]}),
    Case("grants-something", "ScopeGrant", {"scopes": None, "roles": ["manager"]}),
    Case("grants-something", "ScopeGrant", {"scopes": ["read"], "roles": ["manager"]}),
    Case("grants-something", "ScopeGrant", {"scopes": []}, "spec.scopes"),
    Case("grants-something", "ScopeGrant", {"scopes": None}, "spec.scopes"),
    Case("grants-to-someone", "ScopeGrant", _to_users(_ALL_USERS, to=[])),
    Case("grants-to-someone", "ScopeGrant", _to_users(_ALL_USERS, to=None)),
    Case("grants-to-someone", "ScopeGrant", {"to": []}, "spec.to"),
    Case("grants-to-someone", "ScopeGrant", {"to": None, "toUsers": []}, "spec.to"),
    Case("user-grantee-has-exactly-one", "ScopeGrant", _to_users({"groups": ["hr staff"], "through": _THROUGH})),
    Case("user-grantee-has-exactly-one", "ScopeGrant", _to_users({"subjects": [_SUBJECT], "through": _THROUGH})),
    Case("user-grantee-has-exactly-one", "ScopeGrant", _to_users({"through": _THROUGH}), "spec.toUsers[0]"),
    Case(
        "user-grantee-has-exactly-one",
        "ScopeGrant",
        _to_users(_ALL_USERS, {"groups": ["hr"], "subjects": [_SUBJECT], "through": _THROUGH}),
        "spec.toUsers[1]",
    ),
    Case("user-grantee-has-exactly-one", "ScopeGrant", _to_users({**_ALL_USERS, "groups": ["hr"]}), "spec.toUsers[0]"),
    Case("user-grantee-all-users-is-true", "ScopeGrant", _to_users(_ALL_USERS)),
    Case(
        "user-grantee-all-users-is-true",
        "ScopeGrant",
        _to_users({"allUsers": False, "through": _THROUGH}),
        "spec.toUsers[0].allUsers",
    ),
    Case("through-has-exactly-one", "ScopeGrant", _through(namespaceSelector={"matchLabels": {"team": "hr"}})),
    Case("through-has-exactly-one", "ScopeGrant", _through(), "spec.toUsers[0].through"),
    Case("through-has-exactly-one", "ScopeGrant", _through(client="hr-web"), "spec.toUsers[0].through"),
    Case(
        "through-has-exactly-one",
        "ScopeGrant",
        _through(namespace="hr", allNamespaces=True),
        "spec.toUsers[0].through",
    ),
    Case("through-client-needs-namespace", "ScopeGrant", _through(namespace="hr", client="hr-web")),
    Case(
        "through-client-needs-namespace",
        "ScopeGrant",
        _through(allNamespaces=True, client="hr-web"),
        "spec.toUsers[0].through.client",
    ),
    Case("through-all-namespaces-is-true", "ScopeGrant", _through(allNamespaces=True)),
    Case(
        "through-all-namespaces-is-true",
        "ScopeGrant",
        _through(allNamespaces=False),
        "spec.toUsers[0].through.allNamespaces",
    ),
    Case("user-selectors-are-bounded", "ScopeGrant", _many_users(3, 63)),
    Case("user-selectors-are-bounded", "ScopeGrant", _many_users(4, 64), "spec.toUsers"),
    Case("user-selectors-are-bounded", "ScopeGrant", _many_users(16, 64), "spec.toUsers"),
    Case("selector-not-empty", "ScopeGrant", _selector(matchLabels={"team": "hr"})),
    Case(
        "selector-not-empty",
        "ScopeGrant",
        _through(namespaceSelector={}),
        "spec.toUsers[0].through.namespaceSelector",
    ),
    Case("selector-not-empty", "ScopeGrant", _expression("Exists", given=False)),
    Case("selector-not-empty", "ScopeGrant", _selector(), "spec.to[0].namespaceSelector"),
    Case(
        "selector-not-empty",
        "ScopeGrant",
        _selector(matchLabels={}, matchExpressions=[]),
        "spec.to[0].namespaceSelector",
    ),
    Case("selector-keys-are-label-keys", "ScopeGrant", _selector(matchLabels={"hr.example/team": "payroll", "a": ""})),
    Case(
        "selector-keys-are-label-keys",
        "ScopeGrant",
        _selector(matchLabels={"hr team": "payroll"}),
        "spec.to[0].namespaceSelector.matchLabels",
    ),
    Case("expression-needs-values", "ScopeGrant", _expression("In", "hr", "it")),
    Case("expression-needs-values", "ScopeGrant", _expression("NotIn", "hr")),
    Case("expression-needs-values", "ScopeGrant", _expression("In"), _EXPRESSION),
    Case("expression-needs-values", "ScopeGrant", _expression("NotIn", given=False), _EXPRESSION),
    Case("expression-takes-no-values", "ScopeGrant", _expression("Exists")),
    Case("expression-takes-no-values", "ScopeGrant", _expression("DoesNotExist", given=False)),
    Case("expression-takes-no-values", "ScopeGrant", _expression("Exists", "hr"), _EXPRESSION),
    Case("expression-takes-no-values", "ScopeGrant", _expression("DoesNotExist", "hr"), _EXPRESSION),
]

_TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
_BOTH_GRANTS = ["authorization_code", "refresh_token"]


def _after_logout(*uris: str) -> dict[str, Any]:
    return login(postLogoutRedirectURIs=list(uris))


def _refresh(**times: str) -> dict[str, Any]:
    return login(refreshTokens=times)


_LOGIN = [
    *(
        case
        for field, spec in (("redirectURIs", login), ("postLogoutRedirectURIs", _after_logout))
        for name, refused in REFUSED.items()
        for case in (
            Case(f"{field}-{name}", "OAuthClient", spec(*ACCEPTED)),
            Case(f"{field}-{name}", "OAuthClient", public(spec(*ACCEPTED, *PRIVATE_USE))),
            *(
                Case(f"{field}-{name}", "OAuthClient", public(spec(WEB, uri)), f"spec.login.{field}")
                for uri in (refused if spec is login else refused[:1])
            ),
        )
    ),
    Case("login-with-authorization-code", "OAuthClient", login()),
    Case("login-with-authorization-code", "OAuthClient", {"grantTypes": _BOTH_GRANTS}, "spec.login"),
    Case("login-only-with-authorization-code", "OAuthClient", {"grantTypes": ["client_credentials"]}),
    Case("login-only-with-authorization-code", "OAuthClient", {"login": login()["login"]}, "spec.login"),
    Case("refresh-token-needs-authorization-code", "OAuthClient", {**login(), "grantTypes": _BOTH_GRANTS}),
    Case(
        "refresh-token-needs-authorization-code",
        "OAuthClient",
        {"grantTypes": ["client_credentials", "refresh_token"]},
        "spec.grantTypes",
    ),
    Case("public-client-acts-for-users-only", "OAuthClient", {**public(login()), "grantTypes": _BOTH_GRANTS}),
    *(
        Case("public-client-acts-for-users-only", "OAuthClient", {**public(login()), **grants}, "spec.grantTypes")
        for grants in (
            {"grantTypes": [*_BOTH_GRANTS, "client_credentials"]},
            {"grantTypes": [*_BOTH_GRANTS, _TOKEN_EXCHANGE]},
        )
    ),
    Case("public-client-acts-for-users-only", "OAuthClient", public({}), "spec.grantTypes"),
    Case("public-client-asks-for-consent", "OAuthClient", login(consent="Skip")),
    Case("public-client-asks-for-consent", "OAuthClient", public(login())),
    Case("public-client-asks-for-consent", "OAuthClient", public(login(consent="Skip")), "spec.login"),
    Case("public-client-uses-pkce", "OAuthClient", login(pkce="Optional")),
    Case("public-client-uses-pkce", "OAuthClient", public(login(pkce="Optional")), "spec.login"),
    Case("private-use-schemes-for-public-clients", "OAuthClient", public(login(WEB, *PRIVATE_USE))),
    *(
        Case("private-use-schemes-for-public-clients", "OAuthClient", spec(uri), "spec.login")
        for uri in PRIVATE_USE
        for spec in (login, _after_logout)
    ),
    Case("refresh-idle-timeout-at-least-a-minute", "OAuthClient", _refresh(idleTimeout="1m")),
    Case(
        "refresh-idle-timeout-at-least-a-minute",
        "OAuthClient",
        _refresh(idleTimeout="59s"),
        "spec.login.refreshTokens.idleTimeout",
    ),
    Case("refresh-idle-timeout-within-max-lifetime", "OAuthClient", _refresh(idleTimeout="12h")),
    Case(
        "refresh-idle-timeout-within-max-lifetime",
        "OAuthClient",
        _refresh(maxLifetime="7h"),
        "spec.login.refreshTokens.idleTimeout",
    ),
    Case("refresh-max-lifetime-at-most-a-year", "OAuthClient", _refresh(maxLifetime="8760h")),
    Case(
        "refresh-max-lifetime-at-most-a-year",
        "OAuthClient",
        _refresh(maxLifetime="8760h1ms"),
        "spec.login.refreshTokens.maxLifetime",
    ),
    *(
        case
        for field in ("idleTimeout", "maxLifetime")
        for case in (
            Case(f"refresh-token-{field}-has-no-days", "OAuthClient", _refresh(**{field: "12h"})),
            Case(
                f"refresh-token-{field}-has-no-days",
                "OAuthClient",
                _refresh(**{field: "1d"}),
                f"spec.login.refreshTokens.{field}",
            ),
        )
    ),
]

_KEY_ROTATION = [
    Case("key-every-has-no-days", "SigningKey", {"rotation": {"every": "336h"}}),
    Case("key-every-has-no-days", "SigningKey", {"rotation": {"every": "2w"}}, "spec.rotation.every"),
    Case("key-publishAhead-has-no-days", "SigningKey", {"rotation": {"publishAhead": "24h"}}),
    Case(
        "key-publishAhead-has-no-days", "SigningKey", {"rotation": {"publishAhead": "1d"}}, "spec.rotation.publishAhead"
    ),
    Case("every-longer-than-publish-ahead", "SigningKey", {"rotation": {"every": "24h20m"}}),
    Case("every-longer-than-publish-ahead", "SigningKey", {"rotation": {"every": "20m", "publishAhead": "0s"}}),
    Case("every-longer-than-publish-ahead", "SigningKey", {"rotation": {"every": "24h19m"}}, "spec.rotation.every"),
    Case(
        "every-longer-than-publish-ahead", "SigningKey", {"rotation": {"publishAhead": "720h"}}, "spec.rotation.every"
    ),
]

_PROVIDER = [
    *(Case(rule, "IdentityProvider", spec) for rule, (kept, _) in PROVIDER_RULES.items() for spec in kept),
    *(
        Case(rule, "IdentityProvider", spec, path)
        for rule, (_, broken) in PROVIDER_RULES.items()
        for spec, path in broken
    ),
]

_INSTANTS = [
    case
    for kind, name, path, spec in (
        ("OAuthClient", "revokedBefore", "spec.rotation.revokedBefore", lambda at: {"rotation": {"revokedBefore": at}}),
        ("ScopeGrant", "expirationTime", "spec.expirationTime", lambda at: {"expirationTime": at}),
        ("SigningKey", "revokedBefore", "spec.revokedBefore", lambda at: {"revokedBefore": at}),
        ("IdentityProvider", "revokedBefore", "spec.revokedBefore", lambda at: {"revokedBefore": at}),
    )
    for case in (
        Case(f"{name}-is-a-timestamp", kind, {}),
        Case(f"{name}-is-a-timestamp", kind, spec("2026-11-22T10:00:00Z")),
        Case(f"{name}-is-a-timestamp", kind, spec("2026-11-22T10:00:00.123456789-23:59")),
        Case(f"{name}-is-a-timestamp", kind, spec("1969-12-31T23:59:59Z"), path),
        Case(f"{name}-is-a-timestamp", kind, spec("1970-01-01T00:00:00+01:00"), path),
    )
]

CASES = [
    *_NAMES,
    *_AUTHENTICATION,
    *_JWKS,
    *_CLIENT,
    *_LOGIN,
    *_SERVER,
    *_GRANT,
    *_KEY_ROTATION,
    *_PROVIDER,
    *_INSTANTS,
]

UPDATES = [
    *(
        case
        for kind in KINDS
        for case in (
            Case("issuer-immutable", kind, {"issuer": "default"}, before={}),
            Case("issuer-immutable", kind, {}, before={"issuer": "default"}),
            Case("issuer-immutable", kind, {"issuer": "eu"}, before={"issuer": "eu"}),
            Case("issuer-immutable", kind, {"issuer": "eu"}, "spec.issuer", before={}),
            Case("issuer-immutable", kind, {}, "spec.issuer", before={"issuer": "eu"}),
        )
    ),
    Case("algorithm-immutable", "SigningKey", {"rotation": {"every": "240h"}}, before={}),
    Case("algorithm-immutable", "SigningKey", {"algorithm": None}, before={"algorithm": "ES256"}),
    Case("algorithm-immutable", "SigningKey", {"algorithm": "ES256"}, before={"algorithm": None}),
    Case("algorithm-immutable", "SigningKey", {"algorithm": "RS256"}, "spec.algorithm", before={"algorithm": None}),
    Case("algorithm-immutable", "SigningKey", {"algorithm": None}, "spec.algorithm", before={"algorithm": "RS256"}),
    *(Case(rule, "IdentityProvider", after, path, before=before) for rule, before, after, path in PROVIDER_UPDATES),
]
"""Updates, for the transition rules."""


@dataclass(frozen=True)
class Malformed:
    """A spec whose structure is invalid at `path`, so that no rule is evaluated."""

    kind: str
    spec: dict[str, Any] = field(hash=False)
    path: str

    @property
    def manifest(self) -> Manifest:
        return manifest(self.kind, self.spec)

    def __str__(self) -> str:
        return f"{self.kind}-{self.path}"


_LONG = "a" * 10_000

MALFORMED = [
    Malformed("OAuthClient", {"issuer": _LONG}, "spec.issuer"),
    Malformed("OAuthClient", {"issuer": "a.b"}, "spec.issuer"),
    Malformed("OAuthClient", {"disabled": "yes"}, "spec.disabled"),
    Malformed("OAuthClient", {"access": {}}, "spec.access"),
    Malformed("OAuthClient", {"access": [{"resourceServer": "a"}]}, "spec.access[0].scopes"),
    Malformed("OAuthClient", {"access": [{"scopes": ["a"]}]}, "spec.access[0].resourceServer"),
    Malformed("OAuthClient", {"access": [{"resourceServer": "a", "scopes": []}]}, "spec.access[0].scopes"),
    Malformed("OAuthClient", {"access": [{"resourceServer": "a", "scopes": ["a", "a"]}]}, "spec.access[0].scopes[1]"),
    Malformed("OAuthClient", {"access": [{"resourceServer": _LONG, "scopes": ["a"]}]}, "spec.access[0].resourceServer"),
    Malformed("OAuthClient", _access(*((f"a{n}", None) for n in range(65))), "spec.access"),
    Malformed("OAuthClient", {"grantTypes": ["password"]}, "spec.grantTypes[0]"),
    Malformed("OAuthClient", {"grantTypes": []}, "spec.grantTypes"),
    Malformed("OAuthClient", {"authentication": {"method": "clientSecret"}}, "spec.authentication.method"),
    Malformed("OAuthClient", {"dpop": "required"}, "spec.dpop"),
    Malformed("OAuthClient", {"grantTypes": ["authorization_code"], "login": {}}, "spec.login.redirectURIs"),
    *(Malformed("OAuthClient", login(uri), "spec.login.redirectURIs[0]") for uri in MALFORMED_URIS),
    Malformed("OAuthClient", login(WEB, WEB), "spec.login.redirectURIs[1]"),
    Malformed("OAuthClient", login(*(f"{WEB}/{n}" for n in range(17))), "spec.login.redirectURIs"),
    Malformed("OAuthClient", login(allowedGroups=[]), "spec.login.allowedGroups"),
    Malformed("OAuthClient", login(allowedGroups=["a\n"]), "spec.login.allowedGroups[0]"),
    Malformed("OAuthClient", login(allowedGroups=["a" * 257]), "spec.login.allowedGroups[0]"),
    Malformed("OAuthClient", login(identityProviders=[]), "spec.login.identityProviders"),
    Malformed("OAuthClient", login(identityProviders=["a.b"]), "spec.login.identityProviders[0]"),
    Malformed("OAuthClient", login(consent="Never"), "spec.login.consent"),
    Malformed("OAuthClient", login(idTokenSigningKey="a.b"), "spec.login.idTokenSigningKey"),
    Malformed("OAuthClient", login(refreshTokens={"idleTimeout": "8 hours"}), "spec.login.refreshTokens.idleTimeout"),
    Malformed("OAuthClient", _jwks(*({**_P256, "kid": str(n)} for n in range(9))), "spec.authentication.jwks.keys"),
    Malformed("OAuthClient", _jwks({"kty": "oct", "k": "c2VjcmV0"}), f"{_KEY}.kty"),
    Malformed("OAuthClient", _jwks({**_P256, "alg": "none"}), f"{_KEY}.alg"),
    Malformed("OAuthClient", _jwks({**_P256, "use": "enc"}), f"{_KEY}.use"),
    Malformed("OAuthClient", _jwks({**_P256, "x": "not base64url" + "x" * 30}), f"{_KEY}.x"),
    Malformed("OAuthClient", {"rotation": {"every": "2 weeks"}}, "spec.rotation.every"),
    Malformed("OAuthClient", {"rotation": {"every": 720}}, "spec.rotation.every"),
    Malformed("OAuthClient", {"rotation": {"every": "-1h"}}, "spec.rotation.every"),
    Malformed("OAuthClient", {"rotation": {"every": "1h" * 5}}, "spec.rotation.every"),
    *(
        Malformed("OAuthClient", {"rotation": {"revokedBefore": instant}}, "spec.rotation.revokedBefore")
        for instant in (
            "yesterday",
            "2026-11-22",
            "2026-11-22T10:00:00",
            "2026-02-30T10:00:00Z",
            "2026-11-22T10:00:60Z",
        )
    ),
    Malformed("OAuthClient", {"credentials": {"secretName": "Leave"}}, "spec.credentials.secretName"),
    Malformed("OAuthClient", {"credentials": {"secretName": _LONG}}, "spec.credentials.secretName"),
    Malformed("OAuthClient", {"credentials": {"keys": {"clientID": "client id"}}}, "spec.credentials.keys.clientID"),
    *(
        Malformed("OAuthClient", {"credentials": {"keys": {"clientID": name}}}, "spec.credentials.keys.clientID")
        for name in ("", ".", "..", "..a", _LONG)
    ),
    Malformed("OAuthClient", _template("labels", team="a b"), "spec.credentials.secretTemplate.labels.team"),
    Malformed("OAuthClient", _template("annotations", team=_LONG), "spec.credentials.secretTemplate.annotations.team"),
    Malformed("ResourceServer", {"audience": f"https://{_LONG}"}, "spec.audience"),
    Malformed("ResourceServer", {"audience": 'https://a/"'}, "spec.audience"),
    Malformed("ResourceServer", {"audience": "https://a/%7Eb"}, "spec.audience"),
    Malformed("ResourceServer", {"scopes": [{"name": "a"}, {"name": "a"}]}, "spec.scopes[1]"),
    Malformed("ResourceServer", {"scopes": [{"name": _LONG}]}, "spec.scopes[0].name"),
    *(
        Malformed("ResourceServer", {"scopes": [{"name": name}]}, "spec.scopes[0].name")
        for name in ("", "a b", 'a"', "a\\b", "ä", "a\n")
    ),
    Malformed("ResourceServer", {"scopes": ["payroll.read"]}, "spec.scopes[0]"),
    Malformed("ResourceServer", {"servedBy": ["a", "a"]}, "spec.servedBy[1]"),
    Malformed("ResourceServer", {"tokens": {"scopesListClaim": "true"}}, "spec.tokens.scopesListClaim"),
    *(Malformed("ResourceServer", spec, path) for spec, path in MALFORMED_HTTP),
    Malformed("ScopeGrant", {"resourceServer": None}, "spec.resourceServer"),
    Malformed("ScopeGrant", {"to": [{"namespace": "a"}] * 65}, "spec.to"),
    Malformed("ScopeGrant", {"roles": ["a", "a"]}, "spec.roles[1]"),
    Malformed("ScopeGrant", _to_users(*[_ALL_USERS] * 17), "spec.toUsers"),
    Malformed("ScopeGrant", _to_users({"allUsers": True}), "spec.toUsers[0].through"),
    Malformed("ScopeGrant", _to_users({"groups": [], "through": _THROUGH}), "spec.toUsers[0].groups"),
    *(
        Malformed("ScopeGrant", _to_users({"groups": [name], "through": _THROUGH}), "spec.toUsers[0].groups[0]")
        for name in ("", "a\nb", "a" * 257)
    ),
    Malformed("ScopeGrant", _to_users({"subjects": [], "through": _THROUGH}), "spec.toUsers[0].subjects"),
    *(
        Malformed("ScopeGrant", _to_users({"subjects": [subject], "through": _THROUGH}), "spec.toUsers[0].subjects[0]")
        for subject in (
            "",
            "ada",
            "leave.leave-worker",
            _SUBJECT[:-1],
            _SUBJECT + "a",
            _SUBJECT.upper(),
            _SUBJECT + "\n",
        )
    ),
    Malformed("ResourceServer", {"roles": [{"name": "manager"}]}, "spec.roles[0].scopes"),
    Malformed("ResourceServer", {"roles": [{"name": "manager", "scopes": []}]}, "spec.roles[0].scopes"),
    Malformed("ResourceServer", {"roles": [{"name": "a b", "scopes": ["a"]}]}, "spec.roles[0].name"),
    Malformed("ResourceServer", {"roles": [{"name": "a", "scopes": ["a"]}] * 2}, "spec.roles[1]"),
    Malformed("ScopeGrant", {"expirationTime": "never"}, "spec.expirationTime"),
    Malformed("ScopeGrant", _selector(matchLabels={"team": "a b"}), "spec.to[0].namespaceSelector.matchLabels.team"),
    Malformed(
        "ScopeGrant",
        _expression("in", "a"),
        "spec.to[0].namespaceSelector.matchExpressions[0].operator",
    ),
    Malformed("SigningKey", {"algorithm": "HS256"}, "spec.algorithm"),
    Malformed("SigningKey", {"algorithm": "EdDSA"}, "spec.algorithm"),
    Malformed("SigningKey", {"jwks": {"configMapName": "A"}}, "spec.jwks.configMapName"),
    *(Malformed("IdentityProvider", spec, path) for spec, path in MALFORMED_PROVIDERS),
]
