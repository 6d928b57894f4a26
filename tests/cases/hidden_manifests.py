"""Files that kubectl reads as a ScopeGrant `payroll/sneak`, each in a form that a simple parser misses."""

import base64
import json
from typing import Final

API_VERSION: Final = "apiVersion: scopewright.dev/v1alpha1\n"
KIND: Final = "kind: ScopeGrant\n"
REST: Final = """\
metadata: {name: sneak, namespace: payroll}
spec: {resourceServer: payroll-api, scopes: [payroll.write], to: [{namespace: leave, client: leave-worker}]}
"""
GRANT: Final = API_VERSION + KIND + REST
HEAD: Final = "{apiVersion: scopewright.dev/v1alpha1, kind: ScopeGrant}"
HARMLESS: Final = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: harmless}\n"

_MANIFEST: Final = {
    "apiVersion": "scopewright.dev/v1alpha1",
    "kind": "ScopeGrant",
    "metadata": {"name": "sneak", "namespace": "payroll"},
    "spec": {
        "resourceServer": "payroll-api",
        "scopes": ["payroll.write"],
        "to": [{"namespace": "leave", "client": "leave-worker"}],
    },
}
_JSON: Final = json.dumps(_MANIFEST)


def _listed(head: str, item: str = GRANT, key: str = "items") -> str:
    return f"{head}{key}:\n- " + item.replace("\n", "\n  ").rstrip() + "\n"


def _broken_by(end: str, text: str = GRANT) -> str:
    return text.replace("\n", end)


_KIND_IN_BASE64: Final = base64.b64encode(b"kind").decode()
_GRANT_IN_BASE64: Final = base64.b64encode(b"ScopeGrant").decode()

READ_BY_KUBECTL: Final[dict[str, str | bytes]] = {
    "the plain manifest": GRANT,
    "an instant end": GRANT + "...\n",
    # Merge keys.
    "a merge gives the kind": f"<<: {HEAD}\n{REST}",
    "a merge of several": f"<<: [{{kind: ScopeGrant}}, {{kind: ConfigMap, {API_VERSION.strip()}}}]\n{REST}",
    "a merge in a merge": f"<<: {{<<: {HEAD}}}\n{REST}",
    "a merge that comes later": f"apiVersion: v1\nkind: ConfigMap\n<<: {HEAD}\n{REST}",
    "a second merge": f"<<: {{apiVersion: v1, kind: ConfigMap}}\n<<: {HEAD}\n{REST}",
    "a merge with its tag": f"!!merge <<: {HEAD}\n{REST}",
    "a merge gives the items": f"apiVersion: v1\nkind: List\n<<: {{items: [{_JSON}]}}\n",
    "a merge in an item": _listed("apiVersion: v1\nkind: List\n", f"<<: {HEAD}\n{REST}"),
    # Lists.
    "a List": _listed("apiVersion: v1\nkind: List\n"),
    "a List of ConfigMaps": _listed("apiVersion: v1\nkind: ConfigMapList\n"),
    "a List of an unknown kind": _listed("apiVersion: example.org/v1\nkind: ThingList\n"),
    "a List by its items alone": _listed(HARMLESS),
    "a List in small letters": _listed("apiVersion: v1\nkind: list\n"),
    "a List without apiVersion": _listed("kind: List\n"),
    "a List that types its items": _listed(API_VERSION + "kind: ScopeGrantList\n", REST),
    "a List that types its items, of an odd kind": _listed(API_VERSION + KIND, REST),
    "a List with its items quoted": _listed("apiVersion: v1\nkind: ConfigMapList\n", key='"\\x69tems"'),
    # Keys and values of the head.
    "a kind by an alias": f"metadata: {{name: sneak, namespace: payroll, labels: {{a: &k ScopeGrant}}}}\n{API_VERSION}"
    f"kind: *k\n{REST.splitlines()[1]}\n",
    "a key by an alias": f"metadata: {{name: sneak, namespace: payroll, labels: {{a: &k kind}}}}\n{API_VERSION}"
    f"*k : ScopeGrant\n{REST.splitlines()[1]}\n",
    "an anchored key": "&k " + KIND + API_VERSION + REST,
    "a kind twice": API_VERSION + "kind: ConfigMap\n" + KIND + REST,
    "an apiVersion twice": "apiVersion: v1\n" + GRANT,
    "a kind twice in JSON": _JSON.replace('"kind"', '"kind": "ConfigMap", "kind"'),
    "a kind in base64": f"{API_VERSION}kind: !!binary {_GRANT_IN_BASE64}\n{REST}",
    "a key in base64": f"{API_VERSION}!!binary {_KIND_IN_BASE64}: ScopeGrant\n{REST}",
    "a kind with the tag of text": f"{API_VERSION}kind: !!str ScopeGrant\n{REST}",
    "a kind with a tag of its own": f"{API_VERSION}kind: !mine ScopeGrant\n{REST}",
    "a kind with an empty tag": f"{API_VERSION}kind: ! ScopeGrant\n{REST}",
    "a key with a tag": f"{API_VERSION}!!str kind: ScopeGrant\n{REST}",
    "a whole tag": f"{API_VERSION}kind: !<tag:yaml.org,2002:str> ScopeGrant\n{REST}",
    "escapes": f'{API_VERSION}"\\x6bind": "Scope\\x47rant"\n{REST}',
    "a folded text": f"{API_VERSION}kind: >-\n  ScopeGrant\n{REST}",
    "a key with a question mark": f"{API_VERSION}? kind\n: ScopeGrant\n{REST}",
    "a number for a key": "1: 1\n" + GRANT,
    "a truth value for a key": "true: 1\n" + GRANT,
    # Bytes, lines and documents.
    "a byte order mark": b"\xef\xbb\xbf" + GRANT.encode(),
    "a byte order mark after a separator": "# nothing\n---\n\ufeff" + GRANT,
    "a byte order mark before items": "# nothing\n---\n\ufeff" + _listed("") + "apiVersion: v1\nkind: List\n",
    "UTF-16": GRANT.encode("utf-16"),
    "Latin-1": "# \xe9\n".encode("latin-1") + GRANT.encode(),
    "CRLF": _broken_by("\r\n"),
    "CR": _broken_by("\r"),
    "NEL": _broken_by("\x85"),
    "LS": _broken_by("\u2028"),
    "a comment that CR ends": "# harmless\r" + _broken_by("\r"),
    "a comment that NEL ends": "# harmless\x85" + _broken_by("\x85"),
    "a comment that LS ends": "# harmless\u2028" + _broken_by("\u2028"),
    "a comment that PS ends": "# harmless\u2029" + _broken_by("\u2029"),
    "a second document": f"{HARMLESS}--- # a comment\n{GRANT}",
    "a second document after an end": f"{HARMLESS}...\n---\n{GRANT}",
    "a separator within a text": HARMLESS + f"data:\n  a: |\n    x\n---\n{GRANT}",
    "JSON": _JSON,
    "JSON with escapes": _JSON.replace("kind", "\\u006bind").replace("v1alpha1", "\\u00761alpha1"),
    "JSON after JSON": json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "harmless"}}) + _JSON,
    "JSON before rubbish": _JSON + " ]]",
    "JSON after a comment": "# nothing\n" + _JSON,
    "JSON with a control character": _JSON.replace('"metadata": {', '"metadata": {"annotations": {"a": "\x7f"}, '),
    "very deep": GRANT + "x: " + "[" * 150 + "]" * 150 + "\n",
}
