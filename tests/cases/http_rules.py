"""Specs with `http` that satisfy each rule, or break it at a path; `crd_rules` makes cases of them."""

from typing import Any, Final

from scopewright.api.http_rules import MAX_HOSTNAMES, MAX_METHODS, MAX_PATH_LENGTH
from scopewright.api.names import MAX_ITEMS
from scopewright.verifier.rules import MAX_ALL_PATHS, MAX_PATHS, MAX_SEGMENTS

Spec = dict[str, Any]


def http(**fields: Any) -> Spec:
    return {"http": fields}


def rule(**fields: Any) -> Spec:
    """One rule, which needs any valid token."""
    return http(rules=[{"name": "a-rule", "paths": ["/"], "authentication": "Required", **fields}])


def paths(*patterns: str) -> Spec:
    return rule(paths=list(patterns))


def needs(**fields: Any) -> Spec:
    return http(rules=[{"name": "a-rule", "paths": ["/"], **fields}])


_RULE: Final = "spec.http.rules[0]"
_PATHS: Final = f"{_RULE}.paths"
_METHODS: Final = f"{_RULE}.methods"
_AUTHENTICATION: Final = f"{_RULE}.authentication"
_HOSTNAMES: Final = "spec.http.hostnames"
_LONGEST_PATH: Final = "/" + "a" * (MAX_PATH_LENGTH - 1)

_GOOD_PATHS: Final = ("/", "/healthz", "/healthz/", "/**", "/*", "/a/*/b/**", "/a/**/", "/.well-known/**", "/v1:run/~a")
_LARGEST: Final = http(
    hostnames=[f"h{n}.example" for n in range(MAX_HOSTNAMES)],
    rules=[
        {
            "name": f"rule-{n}",
            "paths": [f"/{n}/{m}/{'a' * (MAX_PATH_LENGTH - 10)}" for m in range(MAX_ALL_PATHS // MAX_ITEMS)],
            "methods": ["M" * (m + 1) for m in range(MAX_METHODS)],
            "scopes": ["read"],
        }
        for n in range(MAX_ITEMS)
    ],
)


def _many_paths(rules: int) -> Spec:
    return http(
        rules=[
            {"name": f"r{n}", "paths": [f"/{n}/{m}" for m in range(MAX_PATHS)], "scopes": ["a"]} for n in range(rules)
        ]
    )


HTTP_RULES: Final[dict[str, tuple[list[Spec], list[tuple[Spec, str]]]]] = {
    "paths-begin-with-a-slash": (
        [paths(*_GOOD_PATHS)],
        [(paths(bad), _PATHS) for bad in ("", "healthz", "*", "**", "https://payroll.hr.example/healthz")],
    ),
    "paths-have-pattern-characters": (
        [paths("/!$&'()+,-.0:=@Az_~"), paths(*_GOOD_PATHS)],
        [
            (paths("/", bad), _PATHS)
            for bad in (
                "/a%20b",
                "/a;b",
                "/a b",
                "/a?b",
                "/a#b",
                "/{id}",
                "/ä",
                "/a\\b",
                "/a\n",
                '/a"',
                "/[ab]",
                "/a|b",
            )
        ],
    ),
    "paths-have-whole-wildcards": (
        [paths(*_GOOD_PATHS)],
        [(paths("/", bad), _PATHS) for bad in ("/a*", "/*a", "/a/*.json", "/a/v*/b", "/a**", "/**a", "/***", "/a*b")],
    ),
    "paths-end-with-double-wildcard": (
        [paths(*_GOOD_PATHS)],
        [(paths("/", bad), _PATHS) for bad in ("/**/a", "/a/**/b/**", "/**/*")],
    ),
    "paths-are-canonical": (
        [paths("/a..b", "/.a", "/...", "/a/")],
        [
            (paths("/", bad), _PATHS)
            for bad in ("//", "//a", "/a//b", "/a//", "/.", "/..", "/a/./b", "/a/../b", "/a/..")
        ],
    ),
    "paths-are-not-too-deep": (
        [paths("/a" * MAX_SEGMENTS, "/b" * MAX_SEGMENTS + "/", "/*" * (MAX_SEGMENTS - 1) + "/**")],
        [(paths("/", bad), _PATHS) for bad in ("/a" * (MAX_SEGMENTS + 1), "/a" * MAX_SEGMENTS + "/**")],
    ),
    "rules-have-bounded-paths": (
        [_many_paths(MAX_ALL_PATHS // MAX_PATHS)],
        [(_many_paths(MAX_ALL_PATHS // MAX_PATHS + 1), "spec.http.rules"), (_many_paths(MAX_ITEMS), "spec.http.rules")],
    ),
    "methods-are-in-upper-case": (
        [rule(), rule(methods=["GET", "PROPFIND", "M" * 32])],
        [(rule(methods=["GET", bad]), _METHODS) for bad in ("", "get", "Get", "*", "GET,PUT", "M-SEARCH", "GET\n")],
    ),
    "rule-states-what-it-needs": (
        [
            *(needs(authentication=value) for value in ("Required", "Optional", "None")),
            *(needs(**{field: ["a"]}) for field in ("scopes", "anyScope", "roles")),
        ],
        [(needs(), _AUTHENTICATION), (needs(scopes=[], anyScope=[], roles=[]), _AUTHENTICATION)],
    ),
    "rule-without-token-needs-nothing": (
        [
            needs(authentication="None", scopes=[], anyScope=[], roles=[]),
            needs(authentication="Required", scopes=["a"], anyScope=["b"], roles=["c"]),
        ],
        [
            (needs(authentication=value, **{field: ["a"]}), _AUTHENTICATION)
            for value in ("Optional", "None")
            for field in ("scopes", "anyScope", "roles")
        ],
    ),
    "hostnames-are-dns-names": (
        [
            {"http": {}},
            http(
                hostnames=[
                    "payroll.hr.example",
                    "payroll",
                    "1a.example",
                    "xn--bcher-kva.example",
                    "a" * 63 + ".example",
                ]
            ),
            _LARGEST,
        ],
        [
            (http(hostnames=["payroll", bad]), _HOSTNAMES)
            for bad in (
                "",
                "Payroll.hr.example",
                "payroll.hr.example.",
                "payroll.hr.example:443",
                "https://payroll.hr.example",
                "payroll.hr.example/v1",
                "*.hr.example",
                "bücher.example",
                "-a.example",
                "a..example",
                "a" * 64 + ".example",
                "a_b.example",
                "[::1]",
                "payroll\n",
            )
        ],
    ),
    "hostnames-are-not-addresses": (
        [http(hostnames=["10.example", "0x7f.example", "1.2.3.4.example"])],
        [(http(hostnames=["payroll", bad]), _HOSTNAMES) for bad in ("10.0.0.1", "127.1", "2130706433", "0x7f000001")],
    ),
    "base-path-is-literal": (
        [http(basePath=good) for good in ("/", "/payroll", "/payroll/v1.2", _LONGEST_PATH)],
        [
            (http(basePath=bad), "spec.http.basePath")
            for bad in (
                "",
                "payroll",
                "/payroll/",
                "//",
                "/a//b",
                "/*",
                "/a/**",
                "/a/../b",
                "/.",
                "/a%20b",
                "/a;b",
                "/a\n",
            )
        ],
    ),
}

MALFORMED_HTTP: Final[list[tuple[Spec, str]]] = [
    ({"http": []}, "spec.http"),
    (http(hostnames=[]), _HOSTNAMES),
    (http(hostnames=["a" * 254]), f"{_HOSTNAMES}[0]"),
    (http(hostnames=["a", "a"]), f"{_HOSTNAMES}[1]"),
    (http(hostnames=[f"a{n}" for n in range(MAX_HOSTNAMES + 1)]), _HOSTNAMES),
    (http(basePath=_LONGEST_PATH + "a"), "spec.http.basePath"),
    (http(caseSensitive="false"), "spec.http.caseSensitive"),
    (http(rules={}), "spec.http.rules"),
    (http(rules=[{"paths": ["/"], "scopes": ["a"]}]), f"{_RULE}.name"),
    (http(rules=[{"name": "a", "scopes": ["a"]}]), _PATHS),
    (http(rules=rule()["http"]["rules"] * 2), "spec.http.rules[1]"),
    (
        http(rules=[{"name": f"r{n}", "paths": [f"/{n}"], "scopes": ["a"]} for n in range(MAX_ITEMS + 1)]),
        "spec.http.rules",
    ),
    *((rule(name=bad), f"{_RULE}.name") for bad in ("", "Read", "a b", "a.b", "a" * 64)),
    (paths(), _PATHS),
    (paths("/a", "/a"), f"{_PATHS}[1]"),
    (paths(_LONGEST_PATH + "a"), f"{_PATHS}[0]"),
    (paths(*(f"/{n}" for n in range(MAX_PATHS + 1))), _PATHS),
    (rule(methods=[]), _METHODS),
    (rule(methods="GET"), _METHODS),
    (rule(methods=["GET", "GET"]), f"{_METHODS}[1]"),
    (rule(methods=["M" * 33]), f"{_METHODS}[0]"),
    (rule(methods=["M" * n for n in range(1, MAX_METHODS + 2)]), _METHODS),
    *((rule(authentication=bad), _AUTHENTICATION) for bad in ("required", "none", "Anonymous", False)),
    *((rule(**{field: ["a b"]}), f"{_RULE}.{field}[0]") for field in ("scopes", "anyScope", "roles")),
    *((rule(**{field: ["a", "a"]}), f"{_RULE}.{field}[1]") for field in ("scopes", "anyScope", "roles")),
    *(
        (rule(**{field: [f"s{n}" for n in range(MAX_ITEMS + 1)]}), f"{_RULE}.{field}")
        for field in ("scopes", "anyScope", "roles")
    ),
]
