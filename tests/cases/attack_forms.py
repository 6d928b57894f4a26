"""Attacks on the form: parts, JSON, base64url, extensions (RFC 7515 §4.1.11, RFC 8725 §2.4)."""

import json
import zlib
from collections.abc import Iterator
from typing import Any, Final

from scopewright.verifier import Reason
from tests.cases.forge import Attack, Forge
from tests.unit.verifier.support import b64

_ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def _shapes(f: Forge) -> Iterator[Attack]:
    good = f.token()
    head, body, signature = good.split(".")
    yield Attack("signature stripped", f"{head}.{body}.", Reason.SIGNATURE)
    malformed = {
        "signature and dot stripped": f"{head}.{body}",
        "detached payload": f"{head}..{signature}",
        "no header": f".{body}.{signature}",
        "a fourth part": f"{good}.{signature}",
        "five parts of a JWE": f"{head}.{body}.{body}.{body}.{signature}",
        "two tokens": f"{good},{good}",
        "JSON serialisation": json.dumps({"protected": head, "payload": body, "signature": signature}),
        "general JSON serialisation": json.dumps(
            {"payload": body, "signatures": [{"protected": head, "signature": signature}]}
        ),
        **{
            f"{sent!r}": sent
            for sent in ("", ".", "..", "...", "a.b.c", "\u00e9.\u00e9.\u00e9", "a.b.c.d.e", "\0.\0.\0", "null")
        },
    }
    for name, token in malformed.items():
        yield Attack(f"shape: {name}", token, Reason.MALFORMED)
    jwe = b64(json.dumps({"alg": "dir", "enc": "A256GCM", "typ": f.typ, "kid": f.key.kid}).encode())
    yield Attack("shape: a JWE", f"{jwe}..{b64(bytes(12))}.{b64(bytes(80))}.{b64(bytes(16))}", Reason.MALFORMED)
    yield Attack("shape: a JWE cut to three parts", f"{jwe}.{body}.{signature}", Reason.ALGORITHM)
    for name, token in {
        "dots": "." * 17_000,
        "ten million": "a" * 10_000_000,
        "a claim": f.claiming(x="y" * 20_000),
    }.items():
        yield Attack(f"shape: huge, {name}", token, Reason.TOO_LARGE)


def _names(f: Forge) -> Iterator[Attack]:
    """Duplicate members: one parser uses the first, another the last (RFC 8725 §2.4)."""
    header, payload = f.header()[:-1], f.payload()[:-1]
    twice = {
        "claim": (header, payload + ', "aud": "https://evil.example"'),
        "claim, equal": (header, payload + f', "iss": {json.dumps(f.claims["iss"])}'),
        "claim, escaped": (header, payload + ', "\\u0061ud": "https://evil.example"'),
        "claim, nested": (header, payload + ', "x": {"a": 1, "a": 2}'),
        "claim, in a list": (header, payload + ', "x": [{"a": 1, "a": 2}]'),
        "alg": (header + ', "alg": "none"', payload),
        "alg, escaped": (header + ', "\\u0061lg": "none"', payload),
        "kid": (header + f', "kid": {json.dumps(f.key.kid)}', payload),
    }
    for name, (head, body) in twice.items():
        yield Attack(f"twice: {name}", f.signed(head + "}", body + "}"), Reason.MALFORMED)


def _json(f: Forge) -> Iterator[Attack]:
    good = f.payload()
    payloads: dict[str, str | bytes] = {
        "nested lists": '{"x":' + "[" * 5000 + "]" * 5000 + "}",
        "nested objects": '{"a":' * 2000 + "1" + "}" * 2000,
        "never closed": "[" * 5000,
        "a trailing comma": good[:-1] + ",}",
        "a comment": good[:-1] + "/* */}",
        "something after it": good + "{}",
        "single quotes": good.replace('"', "'"),
        "a byte order mark": b"\xef\xbb\xbf" + good.encode(),
        "UTF-16": good.encode("utf-16"),
        "Latin-1": (good[:-1] + ', "x": "\u00e9"}').encode("latin-1"),
        "a lone surrogate": good[:-1] + ', "x": "\\ud800"}',
        "a raw control character": good[:-1] + ', "x": "\x01"}',
        "NaN": good[:-1] + ', "x": NaN}',
        "Infinity": good[:-1] + ', "x": -Infinity}',
        "a number of 5000 digits": good[:-1] + ', "x": ' + "9" * 5000 + "}",
        "exp beyond numbers": f.payload(exp=None)[:-1] + ', "exp": 1e999}',
        "compressed": zlib.compress(good.encode())[2:-4],
        **{repr(text): text for text in ("", "null", "[]", "{", '"x"', "{} {}", "1", "true")},
    }
    for name, payload in payloads.items():
        yield Attack(f"JSON: {name}", f.signed(f.header(), payload), Reason.MALFORMED)
    for text in (
        "",
        "null",
        "[]",
        "{",
        '"x"',
        "1",
        "{'alg': 'ES256'}",
        f.header() + "x",
        '{"x":' + "[" * 4000 + "]" * 4000 + "}",
    ):
        yield Attack(f"JSON: header {text[:20]!r}", f.signed(text, good), Reason.MALFORMED)


def _spellings(f: Forge) -> Iterator[Attack]:
    """Other encodings of the same bytes: unused bits, padding, the other alphabet, white space."""
    good = f.token()
    head, body, signature = good.split(".")
    changed = good[:-1] + _ALPHABET[_ALPHABET.index(good[-1]) ^ 1]
    around = {
        "=": good + "=",
        "==": good + "==",
        "\\n": good + "\n",
        "a space": " " + good,
        "!": good + "!",
        "unused bits": changed,
    }
    inside = {
        "a tab": f"{head}\t.{body}.{signature}",
        "a line in the signature": f"{head}.{body}.{signature[:20]}\r\n{signature[20:]}",
        "percent-encoded dots": good.replace(".", "%2e"),
        "full-width dots": good.replace(".", "\uff0e"),
        "quoted": f'"{good}"',
        "Bearer before it": f"Bearer {good}",
        "a NUL at the end": good + "\0",
        "a zero-width space": good[:30] + "\u200b" + good[30:],
        "a Cyrillic letter": head.replace("e", "\u0435", 1) + f".{body}.{signature}",
        "full-width digits": good.translate({ord("0") + n: 0xFF10 + n for n in range(10)}) + "\uff10",
    }
    for name, token in (around | inside).items():
        yield Attack(f"spelling: {name}", token, Reason.MALFORMED)
    for part in ("header", "payload"):
        for name, spell in (("padding", "="), ("a new line", "\n"), ("a space", " ")):
            halves = f"{head}{spell}.{body}" if part == "header" else f"{head}.{body}{spell}"
            yield Attack(f"spelling: {name} after the {part}, signed", f.sign_as_is(halves), Reason.MALFORMED)
    standard = b64(f.payload(x="\u00ff\u00fe\u00fb~~~???").encode()).replace("-", "+").replace("_", "/") + "+/"
    yield Attack("spelling: the other alphabet, signed", f.sign_as_is(f"{head}.{standard}"), Reason.MALFORMED)


def _extensions(f: Forge) -> Iterator[Attack]:
    crits: list[dict[str, Any]] = [
        {"crit": ["exp"], "exp": 1},
        {"crit": ["b64"], "b64": False},
        {"crit": ["x"], "x": 1},
    ]
    values: list[Any] = [[], ["alg"], ["typ"], ["crit"], "exp", {}, [None], 0]
    crits += [{"crit": value} for value in values] + [
        {"b64": False},
        {"b64": True},
    ]
    for header in crits:
        yield Attack(f"extension {json.dumps(header)}", f.token(**header), Reason.MALFORMED)
    unencoded = f.sign_as_is(f"{b64(f.header(crit=['b64'], b64=False).encode())}.{b64(b'x')}")
    yield Attack("extension: unencoded payload", unencoded, Reason.MALFORMED)
    inner = f.token()
    yield Attack("a JWT in a JWT", f.signed(f.header(cty="JWT"), inner), Reason.MALFORMED)
    yield Attack("a JWT in a JWT, as text", f.signed(f.header(cty="JWT"), json.dumps(inner)), Reason.MALFORMED)
    deflated = zlib.compress(f.payload().encode())[2:-4]
    yield Attack("compressed, and saying so", f.signed(f.header(zip="DEF"), deflated), Reason.MALFORMED)


GROUPS: Final = (_shapes, _names, _json, _spellings, _extensions)
