"""Specs of IdentityProviders that satisfy each rule, or break it at a path; `crd_rules` makes cases of them."""

from typing import Any, Final

from scopewright.api.claim_mappings import CHANGEABLE_CLAIMS

Spec = dict[str, Any]

OPENID: Final[Spec] = {
    "issuerURL": "https://login.example.com/realms/hr",
    "clientID": "scopewright",
    "clientAuthentication": {"secretRef": {"name": "company-oidc"}},
}
STATIC: Final[Spec] = {"oidc": None, "static": {"usersRef": {"name": "users"}}}
_STATIC_DOMAIN: Final[Spec] = {**STATIC, "subjectDomain": "static:old"}
_ELSEWHERE: Final = "https://login.example.net/realms/hr"


def openid(**fields: Any) -> Spec:
    return {"oidc": {**OPENID, **fields}}


def url(issuer_url: str) -> Spec:
    return openid(issuerURL=issuer_url)


def mapped(**mappings: Any) -> Spec:
    return {"claimMappings": mappings}


def groups(*allow: str, **fields: Any) -> Spec:
    return mapped(groups={"claim": "groups", **fields, "allow": list(allow)})


def check(**times: str) -> Spec:
    return {"upstreamCheck": times}


_ONE_GROUP: Final[Spec] = {"allow": ["hr"]}
_AUTHENTICATION: Final = "spec.oidc.clientAuthentication.secretRef"
_URL: Final = "spec.oidc.issuerURL"
_MAPPINGS: Final = "spec.claimMappings"

PROVIDER_RULES: Final[dict[str, tuple[list[Spec], list[tuple[Spec, str]]]]] = {
    "has-one-source-of-users": (
        [{}, STATIC],
        [({"oidc": None}, "spec"), ({"static": STATIC["static"]}, "spec")],
    ),
    "client-secret-named": (
        [openid(clientAuthentication={"method": "None"})],
        [
            (openid(clientAuthentication={}), _AUTHENTICATION),
            (openid(clientAuthentication={"method": "ClientSecret"}), _AUTHENTICATION),
        ],
    ),
    "client-secret-only-with-its-method": (
        [openid(clientAuthentication={"secretRef": {"name": "a.b", "key": "secret"}})],
        [(openid(clientAuthentication={"method": "None", "secretRef": {"name": "a"}}), _AUTHENTICATION)],
    ),
    "issuer-url-is-https": (
        [url(u) for u in ("http://127.0.0.1:8080/realms/hr", "http://localhost", "http://[::1]:1/", "https://a.b/")],
        [
            (url(u), _URL)
            for u in (
                "http://login.example.com",
                "http://127.0.0.2/",
                "http://127.0.0.1.example.com/",
                "http://localhost.example.com",
                "http://127x0x0x1/",
                "http://localhost@login.example.com/",
            )
        ],
    ),
    "issuer-url-without-query-and-fragment": (
        [url("https://login.example.com/%3Fa")],
        [(url(f"https://login.example.com{end}"), _URL) for end in ("?", "/?a=b", "#", "/#a")],
    ),
    "issuer-url-without-user-information": (
        [url("https://login.example.com/@hr")],
        [(url(f"https://{user}@login.example.com/hr"), _URL) for user in ("", "a", "a:b", "login.example.net:80")],
    ),
    "issuer-url-has-a-host": (
        [
            url(u)
            for u in ("https://login", "https://[2001:db8::1]:8443/", "https://10.0.0.1", "https://Login.Example/")
        ],
        [
            (url(f"https://{rest}"), _URL)
            for rest in ("/hr", ":443/", "login.example.com:https", "login.example.com.", "-a/", "[::1", "a_b/", "a:/")
        ],
    ),
    "scopes-contain-openid": (
        [openid(scopes=["openid"]), openid(scopes=["email", "openid"])],
        [(openid(scopes=["profile"]), "spec.oidc.scopes"), (openid(scopes=["OpenID"]), "spec.oidc.scopes")],
    ),
    "mapping-has-exactly-one": (
        [mapped(subject={"path": ["a", "id"]}, username={"claim": "nickname"})],
        [
            (mapped(subject={}), f"{_MAPPINGS}.subject"),
            (mapped(username={"claim": "a", "path": ["a"]}), f"{_MAPPINGS}.username"),
        ],
    ),
    "subject-is-no-changeable-claim": (
        [
            mapped(subject={"claim": claim})
            for claim in ("sub", "oid", "employee_id", "https://example.com/sub", "surname", "email_id")
        ],
        [
            *(
                (mapped(subject=subject), f"{_MAPPINGS}.subject")
                for claim in CHANGEABLE_CLAIMS
                for subject in ({"claim": claim}, {"claim": claim.upper()}, {"path": ["user", claim.title()]})
            ),
            *(
                (mapped(subject={"claim": claim}), f"{_MAPPINGS}.subject")
                for claim in ("https://example.com/email", "custom:email", "cognito:username", "user.name")
            ),
        ],
    ),
    "ranges-end-with-an-asterisk": (
        [groups("hr-*", "payroll managers", "a"), groups("*", prefix="hr:"), groups("*")],
        [(groups("a", bad), f"{_MAPPINGS}.groups.allow") for bad in ("*-admins", "hr-*-admins", "hr-**", "**", "* ")],
    ),
    "groups-come-from-one-claim": (
        [mapped(groups={**_ONE_GROUP, "path": ["realm_access", "roles"]}), groups("hr")],
        [
            (mapped(groups=_ONE_GROUP), _MAPPINGS),
            (mapped(groups={**_ONE_GROUP, "claim": "a", "path": ["b"]}), _MAPPINGS),
        ],
    ),
    "static-users-have-no-claims": (
        [{**STATIC, **mapped(groups={**_ONE_GROUP, "prefix": "static:"})}],
        [
            ({**STATIC, **spec}, _MAPPINGS)
            for spec in (
                groups("hr"),
                mapped(groups={**_ONE_GROUP, "path": ["groups"]}),
                mapped(subject={"claim": "id"}),
                mapped(subject={"path": ["sub"]}),
                mapped(username={"claim": "nickname"}),
                mapped(acr={"allow": ["urn:mfa"]}),
            )
        ],
    ),
    "check-at-most-every-minute": ([check(every="1m")], [(check(every="59s999ms"), "spec.upstreamCheck.every")]),
    "check-within-max-age": (
        [check(every="12h"), check(every="1h", maxAge="60m")],
        [(check(every="12h1s"), "spec.upstreamCheck.every"), (check(maxAge="14m"), "spec.upstreamCheck.every")],
    ),
    "check-max-age-at-most-a-month": ([check(maxAge="720h")], [(check(maxAge="720h1ms"), "spec.upstreamCheck.maxAge")]),
    "check-every-has-no-days": ([check(every="24h", maxAge="24h")], [(check(every="1d"), "spec.upstreamCheck.every")]),
    "check-maxAge-has-no-days": ([check(maxAge="48h")], [(check(maxAge="2d"), "spec.upstreamCheck.maxAge")]),
}
"""By rule: specs that satisfy it, and specs that break it, each with the path of the error."""

_SUB: Final = mapped(subject={"claim": "sub"})
_OID: Final = mapped(subject={"claim": "oid"})
_NESTED: Final = mapped(subject={"path": ["user", "id"]})
_SUBJECT_PATH: Final = f"{_MAPPINGS}.subject"
_DOMAIN_PATH: Final = "spec.subjectDomain"

PROVIDER_UPDATES: Final[list[tuple[str, Spec, Spec, str | None]]] = [
    ("subject-immutable", {}, _SUB, None),
    ("subject-immutable", _SUB, {}, None),
    ("subject-immutable", _OID, mapped(subject={"path": ["oid"]}), None),
    ("subject-immutable", _NESTED, {**_NESTED, **check(every="1h")}, None),
    ("subject-immutable", {}, _OID, _SUBJECT_PATH),
    ("subject-immutable", _OID, {}, _SUBJECT_PATH),
    ("subject-immutable", _OID, _NESTED, _SUBJECT_PATH),
    ("subject-domain-immutable", {}, {"subjectDomain": OPENID["issuerURL"]}, None),
    ("subject-domain-immutable", {"subjectDomain": OPENID["issuerURL"]}, {}, None),
    ("subject-domain-immutable", {}, {**url(_ELSEWHERE), "subjectDomain": OPENID["issuerURL"]}, None),
    ("subject-domain-immutable", STATIC, {**STATIC, "displayName": "Emergency"}, None),
    ("subject-domain-immutable", {"subjectDomain": "static:old"}, _STATIC_DOMAIN, None),
    ("subject-domain-immutable", {}, url(_ELSEWHERE), _DOMAIN_PATH),
    ("subject-domain-immutable", {}, url(f"{OPENID['issuerURL']}/"), _DOMAIN_PATH),
    ("subject-domain-immutable", {}, {"subjectDomain": _ELSEWHERE}, _DOMAIN_PATH),
    ("subject-domain-immutable", {"subjectDomain": _ELSEWHERE}, {}, _DOMAIN_PATH),
    ("subject-domain-immutable", STATIC, {}, _DOMAIN_PATH),
    ("subject-domain-immutable", STATIC, _STATIC_DOMAIN, _DOMAIN_PATH),
]
"""Rule, spec before, spec after, and the path of the error, or None if the update is accepted."""

MALFORMED_PROVIDERS: Final[list[tuple[Spec, str]]] = [
    (url("ftp://login.example.com"), _URL),
    (url("https://"), _URL),
    (url("https://login.example.com\\@example.net"), _URL),
    (url("https://login.example.com/a b"), _URL),
    (url("https://login.example.com/" + "a" * 1024), _URL),
    (openid(clientID="\x00"), "spec.oidc.clientID"),
    (openid(scopes=[]), "spec.oidc.scopes"),
    (openid(signingAlgorithms=["HS256"]), "spec.oidc.signingAlgorithms[0]"),
    (openid(signingAlgorithms=["none"]), "spec.oidc.signingAlgorithms[0]"),
    (openid(userinfo="Sometimes"), "spec.oidc.userinfo"),
    (openid(clientAuthentication={"secretRef": {"name": "A"}}), "spec.oidc.clientAuthentication.secretRef.name"),
    (openid(caCertificateRef={"kind": "Pod", "name": "a"}), "spec.oidc.caCertificateRef.kind"),
    (mapped(groups={"claim": "groups"}), f"{_MAPPINGS}.groups.allow"),
    (mapped(groups={"claim": "groups", "allow": []}), f"{_MAPPINGS}.groups.allow"),
    (mapped(groups={"claim": "groups", "allow": ["a\nb"]}), f"{_MAPPINGS}.groups.allow[0]"),
    (mapped(subject={"path": []}), f"{_MAPPINGS}.subject.path"),
    (mapped(subject={"path": ["a"] * 9}), f"{_MAPPINGS}.subject.path"),
    ({"subjectDomain": "two words"}, _DOMAIN_PATH),
    ({"displayName": "a\nb"}, "spec.displayName"),
    (check(every="often"), "spec.upstreamCheck.every"),
]
