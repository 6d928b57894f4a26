"""Attacks on claims: valid signatures with wrong types, issuers, audiences and times (RFC 8725 §3.8 to §3.12)."""

from collections.abc import Iterator
from typing import Any, Final

from scopewright.verifier import Reason
from tests.cases.forge import Attack, Forge


def _types(f: Forge) -> Iterator[Attack]:
    for typ in f.wrong_types:
        yield Attack(f"typ {typ!r}", f.token(typ=typ), Reason.TYPE)
    yield Attack("typ with a look-alike", f.token(typ=f.typ.replace("t", "\u0442")), Reason.TYPE)


def _replays(f: Forge) -> Iterator[Attack]:
    """Valid tokens of another issuer or for another audience (RFC 8725 §3.8, §3.9)."""
    iss, aud = str(f.claims["iss"]), str(f.claims["aud"])
    others: list[Any] = [None, "", 1, True, {"a": iss}, [iss], [[iss]]]
    for name, value, reason in (("iss", iss, Reason.ISSUER), ("aud", aud, Reason.AUDIENCE)):
        near = [
            value + "/",
            value.upper(),
            value[:-1],
            value + ".evil.example",
            value + "\0",
            " " + value,
            value + "#",
            value + "?",
        ]
        near += [
            value.replace("https", "http"),
            value.replace(".", "\u3002"),
            value.replace("e", "\u0435"),
            value.replace("e", "%65"),
        ]
        for other in sorted({*near, "https://evil.example", "*", ".*"} - {value}):
            yield Attack(f"{name} {other!r}", f.claiming(**{name: other}), reason)
    for wrong in others:
        yield Attack(f"iss as {wrong!r}", f.claiming(iss=wrong), Reason.ISSUER)
    for wrong in ("", [], iss, ["x", aud[:-1]]):
        yield Attack(f"aud as {wrong!r}", f.claiming(aud=wrong), Reason.AUDIENCE)
    yield Attack("no aud", f.claiming(aud=None), Reason.MISSING_CLAIM)
    for wrong in (1, True, {"a": aud}, [[aud]], [aud, 1], [None]):
        yield Attack(f"aud as {wrong!r}", f.claiming(aud=wrong), Reason.MALFORMED)


def _times(f: Forge) -> Iterator[Attack]:
    """Times at the limit: `exp` plus the skew has passed, `nbf` or `iat` is beyond the skew."""
    for exp in (f.now - f.skew, f.now - f.skew - 1, f.now - 86400, 0, f.now - f.skew - 0.5):
        yield Attack(f"exp {exp - f.now:+} s", f.claiming(exp=exp), Reason.EXPIRED)
    for name in ("nbf", "iat"):
        for ahead in (f.skew + 1, f.skew + 0.5, 86400):
            yield Attack(f"{name} {ahead:+} s", f.claiming(**{name: f.now + ahead}), Reason.NOT_YET_VALID)
    for name in ("exp", "nbf", "iat"):
        wrong = ["", str(f.now + 600), "2099-01-01T00:00:00Z", True, [f.now + 600], {"at": f.now}, -1, 10**30]
        for value in wrong:
            yield Attack(f"{name} as {value!r}", f.claiming(**{name: value}), Reason.MALFORMED)
    yield Attack("no exp", f.claiming(exp=None), Reason.MISSING_CLAIM)
    yield Attack("exp spelled with a look-alike", f.claiming(exp=None, еxp=f.now + 600), Reason.MISSING_CLAIM)


def _others(f: Forge) -> Iterator[Attack]:
    yield Attack("the name of alg with a look-alike", f.token(alg=None, аlg="ES256"), Reason.ALGORITHM)
    yield Attack("the name of alg in capitals", f.token(alg=None, ALG="ES256"), Reason.ALGORITHM)
    for name in ("sub", "client_id"):
        if name in f.claims:
            yield Attack(f"no {name}", f.claiming(**{name: None}), Reason.MISSING_CLAIM)
            for value in ("", 0, True, [f.claims[name]], {"id": f.claims[name]}):
                yield Attack(f"{name} as {value!r}", f.claiming(**{name: value}), Reason.MALFORMED)


GROUPS: Final = (_types, _replays, _times, _others)
