"""`users.yaml` of static users: what it may have, what a mistake in it says, and that no message quotes it."""

import json
import re
from typing import Any, Final

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from scopewright.core.failures import Rejected
from scopewright.core.providers import static_users
from scopewright.core.providers.password_hash import Argon2Parameters, parse_password_hash
from scopewright.core.providers.static_users import (
    MAX_KNOWN,
    MAX_RECORD_ENTRY,
    decode_static_users,
    encode_static_users,
    name_key,
    parse_static_users,
    recorded_users,
)
from scopewright.core.providers.user_file import MAX_FILE, MAX_USERS

SALT: Final = "AAECAwQFBgcICQoLDA0ODw"
TAG: Final = "EBESExQVFhcYGRobHB0eHyAhIiMkJSYnKCkqKywtLi8"
HASH: Final = f"$argon2id$v=19$m=19456,t=2,p=1${SALT}${TAG}"


def listed(**fields: Any) -> dict[str, Any]:
    return {"id": "ada", "passwordHash": HASH, **fields}


def file_of(*users: object) -> bytes:
    return yaml.safe_dump({"users": list(users)}, allow_unicode=True).encode()


def refusal(data: bytes | str) -> str:
    with pytest.raises(Rejected) as refused:
        parse_static_users(data.encode() if isinstance(data, str) else data)
    assert refused.value.reason == "UsersInvalid"
    return refused.value.message


def test_users_are_read_and_the_record_has_the_same() -> None:
    data = f"""
users:
- id: grace
  passwordHash: {HASH}
- id: "007"
  username: Ada
  name: Ada Lovelace
  email: ada@hr.example
  groups: [hr-staff]
  passwordHash: {HASH}
""".encode()
    ada, grace = parse_static_users(data)
    assert (ada.id, ada.login_name, ada.login_key, ada.groups) == ("007", "Ada", "ada", ["hr-staff"])
    assert ada.claims() == {
        "name": "Ada Lovelace",
        "preferred_username": "Ada",
        "email": "ada@hr.example",
        "email_verified": True,
    }
    assert (grace.login_name, grace.claims()) == ("grace", {"name": "grace", "preferred_username": "grace"})
    assert decode_static_users(encode_static_users([ada, grace])) == (ada, grace)


def test_the_record_is_the_same_for_another_order_and_layout() -> None:
    users = listed(), listed(id="grace", groups=["hr"])
    one = encode_static_users(parse_static_users(file_of(*users)))
    other = encode_static_users(parse_static_users(json.dumps({"users": [*reversed(users)]}).encode()))
    assert one == other


def test_a_record_of_a_later_version_may_have_more_fields() -> None:
    data = json.dumps({"users": [listed(later=1)], "later": 2}).encode()
    assert [user.id for user in decode_static_users(data)] == ["ada"]


@pytest.mark.parametrize(
    "data", [b"", b"[]", b'{"users": []}', json.dumps({"users": [listed(passwordHash="x")]}).encode()]
)
def test_a_malformed_record_is_refused(data: bytes) -> None:
    with pytest.raises(Rejected, match="not a list of static users") as refused:
        decode_static_users(data)
    assert refused.value.reason == "MalformedRecord"


def test_no_representation_shows_the_hash() -> None:
    users = parse_static_users(file_of(listed()))
    assert TAG not in f"{users!r} {users[0]} {users[0]!s}"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "users.yaml: input should be a mapping"),
        ("users: []", "users.yaml, line 1, users: list should have at least 1 item"),
        (
            "users:\n- {id: ada}",
            "users.yaml, line 2, users[0].passwordHash: field required; make it with `scopewright users",
        ),
        (
            f"users:\n- id: ada\n  password: {TAG}",
            "users.yaml, line 2, users[0].passwordHash: field required; make it with `scopewright users",
        ),
        (f"users:\n- id: ada\n  passwordHash: {TAG}", "line 3, users[0].passwordHash: not an Argon2id hash"),
        (f"users:\n- {{id: ada, passwordHash: {HASH}}}", "line 2, users[0].passwordHash: not an Argon2id hash"),
        (f"users:\n- {{id: ada, passwordHash: '{HASH}', {TAG}: x}}", "inside braces, a value with a comma must be in"),
        (
            f"users:\n- id: 7\n  passwordHash: {HASH}",
            "line 2, users[0].id: input should be a valid string; put it",
        ),
        ("users: [{id: ada, id: grace}]", "line 1: a field that is twice in one mapping"),
        ("users:\n- &a {id: ada}\n- *a", "line 3: aliases (*name) are not allowed"),
        ("users:\n- <<: {id: ada}", "line 2: a name of a field that is not text"),
        ("users: !!python/object/apply:os.system [x]", "line 1: a tag (!name) is not allowed"),
        ("a: " + "[" * 200_000, "line 1: nested deeper than 8 levels"),
        ("users: [", "not YAML"),
        ("\x00", "not YAML"),
    ],
)
def test_a_mistake_is_named_with_its_line(text: str, problem: str) -> None:
    message = refusal(text)
    assert problem in message
    assert TAG not in message


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"id": "a b"}, "id: string should match pattern"),
        ({"id": "a" * 65}, "id: string should have at most 64"),
        ({"username": "a\u0007"}, "username: string should match pattern"),
        ({"username": "a" * 201}, "username: string should have at most 200"),
        ({"email": "ada"}, "email: string should match pattern"),
        ({"groups": ["g" * 257]}, "groups[0]: string should have at most 256"),
        ({"groups": [f"g{number}" for number in range(201)]}, "groups: list should have at most 200 items"),
        ({"groups": [""]}, "groups[0]: string should have at least 1"),
    ],
)
def test_a_field_is_bounded(fields: dict[str, Any], problem: str) -> None:
    assert f"users[0].{problem}" in refusal(file_of(listed(**fields)))


@pytest.mark.parametrize(
    ("first", "second", "field"),
    [
        ({}, {"username": "other"}, "id"),
        ({"id": "grace", "username": "Ada"}, {"username": "aDA"}, "username"),
        ({"id": "grace", "username": "ada"}, {}, "username"),
        ({"id": "grace", "username": "straße"}, {"username": "STRASSE"}, "username"),
        ({"id": "grace", "username": "\uff21da"}, {}, "username"),
        ({"id": "grace", "username": "cafe\u0301"}, {"username": "CAFÉ"}, "username"),
        ({"id": "grace", "username": " ada "}, {}, "username"),
    ],
)
def test_no_two_users_have_the_same_name(first: dict[str, Any], second: dict[str, Any], field: str) -> None:
    message = refusal(file_of(listed(**first), listed(**second)))
    assert f"users[1] has the {field} of users[0]" in message


def test_ids_that_differ_by_case_are_two_users_if_their_names_differ() -> None:
    assert len(parse_static_users(file_of(listed(), listed(id="ADA", username="other")))) == 2


@given(st.text())
def test_the_key_of_a_name_is_that_of_its_key(name: str) -> None:
    assert name_key(name_key(name)) == name_key(name)


def test_the_file_and_the_record_are_bounded() -> None:
    users = [listed(id=f"u{number}") for number in range(MAX_USERS + 1)]
    assert len(parse_static_users(json.dumps({"users": users[:-1]}).encode())) == MAX_USERS
    assert "at most 1000 items" in refusal(json.dumps({"users": users}))
    assert "larger than 1 MiB" in refusal(b"#" * (MAX_FILE + 1))
    assert "not UTF-8" in refusal(b"users: \xff")
    assert "values; list fewer users" in refusal("[" + "a," * 500_001 + "]")
    groups = [f"{number:04}" + "g" * 240 for number in range(40)]
    wide = json.dumps(
        {"users": [listed(id=f"u{number}", groups=groups) for number in range(92)]}, separators=(",", ":")
    )
    assert MAX_RECORD_ENTRY < len(wide) < MAX_FILE
    assert re.search(f"take [0-9]+ bytes as JSON, at most {MAX_RECORD_ENTRY}", refusal(wide))


def phc(m: object = 19456, t: object = 2, p: object = 1, salt: str = SALT, tag: str = TAG, v: object = 19) -> str:
    return f"$argon2id$v={v}$m={m},t={t},p={p}${salt}${tag}"


@pytest.mark.parametrize(
    "text",
    [phc(47104, 1), phc(19456, 2), phc(12288, 3), phc(9216, 4), phc(7168, 5), phc(65536, 10)],
)
def test_hashes_of_at_least_the_minimum_of_owasp_are_accepted(text: str) -> None:
    parse_password_hash(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (phc(19455, 2), "too weak"),
        (phc(47103, 1), "too weak"),
        (phc(7167, 10), "too weak"),
        (phc(65537), "not allowed: at most m=65536"),
        (phc(9999999), "not allowed"),
        (phc(t=11), "not allowed: at most m=65536,t=10"),
        (phc(p=2), "and p=1"),
        (phc(salt="AAECAwQFBg"), "salt or hash is cut off"),
        (phc(salt="A" * 88), "salt or hash is cut off"),
        (phc(tag="A" * 20), "salt or hash is cut off"),
        (phc(tag="A" * 88), "salt or hash is cut off"),
        (phc(tag=TAG[:-1]), "salt or hash is cut off"),
        (phc(salt=SALT[:-1] + "x"), "salt or hash is cut off"),
        (phc(v=16), "not an Argon2id hash"),
        (phc(m="019456"), "not an Argon2id hash"),
        (phc(m="١٩٤٥٦"), "not an Argon2id hash"),
        (phc(m=10**20), "not an Argon2id hash"),
        (phc(t=-2), "not an Argon2id hash"),
        (phc(salt=""), "not an Argon2id hash"),
        (phc(tag=TAG + "="), "not an Argon2id hash"),
        (HASH + "\n", "not an Argon2id hash"),
        (HASH.replace("argon2id", "argon2i"), "not an Argon2id hash"),
        ("$2b$12$abcdefghijklmnopqrstuv", "not an Argon2id hash"),
    ],
)
def test_another_hash_is_refused_with_the_command_that_makes_one(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as refused:
        parse_password_hash(text)
    assert "scopewright users hash-password" in str(refused.value)
    assert problem in refusal(file_of(listed(passwordHash=text)))


def test_a_hash_is_written_with_its_parameters() -> None:
    parameters = Argon2Parameters(memory_kib=9216, iterations=4, salt=8, hash=16)
    assert parse_password_hash(parameters.encoded(bytes(8), bytes(16))) == parameters


MARK: Final = "s3cr3t"
"""In every value that is generated, and in no message."""

values = st.one_of(st.text(max_size=20), st.sampled_from([HASH, SALT, TAG])).map(lambda text: MARK + text) | st.none()
fields = st.dictionaries(
    st.sampled_from(["id", "username", "name", "email", "groups", "passwordHash", f"{MARK}-field"]),
    values | st.lists(values, max_size=3) | st.integers() | st.booleans(),
    max_size=7,
)


def outcome(data: bytes) -> str:
    """The message of the refusal; empty: accepted."""
    try:
        assert parse_static_users(data)
    except Rejected as refused:
        return f"{refused.reason}: {refused.message}"
    return ""


@given(st.lists(fields, max_size=3))
def test_no_message_quotes_a_value(users: list[dict[str, Any]]) -> None:
    assert MARK not in outcome(file_of(*users))


@given(st.lists(fields, min_size=1, max_size=3), st.integers(0, 400), st.binary(max_size=4))
def test_a_damaged_file_is_refused_without_a_quote(users: list[dict[str, Any]], place: int, change: bytes) -> None:
    data = file_of(*users)
    place %= len(data) + 1
    assert MARK not in outcome(data[:place] + change + data[place + len(change) :])


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_users_or_refused(data: bytes) -> None:
    assert re.match("$|UsersInvalid: users.yaml[,:]", outcome(data))


# What is read again at each resync


def test_each_content_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = list[bytes]()

    def counted(data: bytes) -> tuple[static_users.StaticUser, ...]:
        parsed.append(data)
        return parse_static_users(data)

    monkeypatch.setattr(static_users, "parse_static_users", counted)
    valid, invalid = file_of(listed(id="once", groups=["b", "a"])), b"users: [{id: once}]"
    for _ in range(3):
        assert recorded_users(bytes(valid)).groups == ("a", "b")
        assert [user.id for user in decode_static_users(recorded_users(valid).encoded)] == ["once"]
        with pytest.raises(Rejected, match=r"users\[0\]\.passwordHash: field required") as refused:
            recorded_users(invalid)
        assert refused.value.reason == "UsersInvalid"
    assert parsed == [valid, invalid]
    for number in range(MAX_KNOWN):
        recorded_users(file_of(listed(id=f"other-{number}")))
    recorded_users(valid)
    assert len(parsed) == 2 + MAX_KNOWN + 1, "only the last contents are kept"
