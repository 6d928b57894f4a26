"""The users of the developer login: what the file may have, and what a mistake in it says."""

import json
from pathlib import Path

import pytest

from scopewright.core.providers.user_file import MAX_FILE, MAX_USERS, USERS_FILE
from scopewright.core.users import subject_of
from scopewright.issuer.users.developer_login import (
    USERS_EXAMPLE,
    DeveloperLogin,
    lists_users,
    parse_users,
)
from scopewright.issuer.users.login_policy import DEVELOPER
from scopewright.manifests.load import load
from tests.harness.html_page import Page
from tests.harness.users import USERS, UsersHarness
from tests.unit.issuer.users.logins import running_logins, user


def test_users_are_read_with_their_claims() -> None:
    ada = parse_users(USERS.encode()).users["ada"].authenticated(7)
    assert (ada.subject, ada.provider, ada.groups, ada.auth_time) == (
        subject_of("static:developer", "ada"),
        DEVELOPER,
        ("hr-staff",),
        7,
    )
    assert ada.claims == {
        "name": "Ada Lovelace",
        "preferred_username": "ada",
        "email": "ada@hr.example",
        "email_verified": True,
    }


def test_an_id_is_enough() -> None:
    user = parse_users(b"users: [{id: a.b-c_1}]").users["a.b-c_1"].authenticated(0)
    assert (user.display_name, user.groups) == ("a.b-c_1", ())
    assert "email" not in user.claims


def test_the_example_of_the_messages_is_valid() -> None:
    assert parse_users(USERS_EXAMPLE.encode()).users.keys() == {"ada"}


def test_users_with_passwords_are_sent_to_their_secret() -> None:
    hint = "users with passwords belong in a Secret of type scopewright.dev/static-users, which an IdentityProvider"
    assert hint in parse_users(b"users: [{id: ada, passwordHash: x}]").problem


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("users: [", "users.yaml, line 2: not YAML"),
        ("users: [{id: ada}]\n---\nusers: []", "line 2: not YAML"),
        ("users: !!python/object/apply:os.system [true]", "line 1: a tag (!name) is not allowed"),
        ("a: " + "[" * 2000, "line 1: nested deeper than 8 levels"),
        ("", "users.yaml: input should be a mapping"),
        ("[]", "users.yaml, line 1: input should be a mapping"),
        ("users: []", "users: list should have at least 1 item"),
        ("users: {}", "users: input should be a valid list"),
        ("users: [ada]", "users[0]: input should be"),
        ("users: [{name: Ada}]", "users[0].id: field required; add it"),
        ("users: [{id: 7}]", "users[0].id: input should be a valid string"),
        ("users: [{id: ''}]", "users[0].id: "),
        ("users: [{id: a b}]", "users[0].id: string should match pattern"),
        ("users: [{id: '\"onclick'}]", "users[0].id: string should match pattern"),
        ("users: [{id: " + "a" * 65 + "}]", "users[0].id: string should have at most 64 characters"),
        ("users: [{id: ada}, {id: ada}]", "users.yaml, line 1: users[1] has the id of users[0]"),
        ("users: [{id: ada, id: grace}]", "line 1: a field that is twice in one mapping"),
        ("users:\n- &a {id: ada}\n- *a", "line 3: aliases (*name) are not allowed"),
        ("users:\n- {id: ada, ? [x] : y}", "line 2: a name of a field that is not text"),
        ("users: [{id: ada, groups: [2026-11-30]}]", "users[0].groups[0]: input should be a valid string"),
        ("users: [{id: ada, email: ada}]", "users[0].email: string should match pattern"),
        ("users: [{id: ada, groups: hr}]", "users[0].groups: input should be a valid list"),
        ("users: [{id: ada, groups: [1]}]", "users[0].groups[0]: input should be a valid string"),
        ("users: [{id: ada, password: x}]", "line 1, users[0]: unknown field; a user has id, name, email and groups"),
        ("users: [{id: ada}]\nmore: 1", "users.yaml, line 1: unknown field; at the top there is only users"),
    ],
)
def test_a_mistake_is_named_with_its_place(text: str, problem: str) -> None:
    found = parse_users(text.encode())
    assert problem in found.problem
    assert USERS_EXAMPLE in found.problem
    assert found.users == {}


def test_a_file_has_at_most_a_thousand_users_and_a_user_200_groups() -> None:
    users = [{"id": f"u{number}"} for number in range(MAX_USERS)]
    assert len(parse_users(json.dumps({"users": users}).encode()).users) == MAX_USERS
    assert "at most 1000 items" in parse_users(json.dumps({"users": [*users, {"id": "more"}]}).encode()).problem
    groups = [f"g{number}" for number in range(201)]
    assert "at most 200 items" in parse_users(json.dumps({"users": [{"id": "ada", "groups": groups}]}).encode()).problem


def test_the_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    file, problems = tmp_path / USERS_FILE, list[str]()
    file.write_text("users: [{id: ada}]")
    login = DeveloperLogin(file, problems.append)
    assert [*login.users().users] == ["ada"]
    assert login.users() is login.users()
    file.write_text("users: [{id: ada}, {id: grace}]")
    assert [*login.users().users] == ["ada", "grace"]
    assert problems == []


def test_a_problem_is_reported_once(tmp_path: Path) -> None:
    file, problems = tmp_path / USERS_FILE, list[str]()
    login = DeveloperLogin(file, problems.append)
    for _ in range(3):
        assert "cannot be read" in login.users().problem
    file.write_text("users: []")
    for _ in range(3):
        assert "at least 1" in login.users().problem
    file.write_bytes(b"users: [{id: \xff}]")
    assert "UTF-8" in login.users().problem
    file.write_bytes(b"#" * (MAX_FILE + 1))
    assert "larger than 1 MiB" in login.users().problem
    file.unlink()
    file.mkdir()
    assert "cannot be read" in login.users().problem
    assert len(problems) == 5
    file.rmdir()
    file.write_text("users: [{id: ada}]")
    assert [*login.users().users] == ["ada"]


@pytest.mark.parametrize(
    ("text", "lists"),
    [
        ("users: [{id: ada}]", True),
        ("users: [", True),
        ("", True),
        ("users:\n- id: ada\n  kind: x\n", True),
        ("apiVersion: scopewright.dev/v1alpha1\nkind: OAuthClient\n", False),
        ("# clients\n---\nkind: OAuthClient\n", False),
        ('{"apiVersion": "v1", "kind": "List"}', False),
    ],
)
def test_a_file_with_manifests_lists_no_users(tmp_path: Path, text: str, lists: bool) -> None:
    """Its name was free before there were users."""
    file = tmp_path / USERS_FILE
    assert not lists_users(file)
    file.write_text(text)
    assert lists_users(file) is lists


async def test_a_mistake_in_the_file_is_on_the_login_page(users: UsersHarness) -> None:
    login = await users.follow(await users.authorize())
    (users.folder / USERS_FILE).write_text("users: [{id: <b>}]")
    page = users.page_of(await users.browser.get(str(login.url)))
    assert page.status == 500
    assert "users[0].id" in page.texts["error-description"]


async def test_a_user_who_was_removed_from_the_file_cannot_log_in(users: UsersHarness) -> None:
    login = await users.follow(await users.authorize())
    (users.folder / USERS_FILE).write_text("users: [{id: eve}]")
    answer = await users.submit(login, "login", "user-ada")
    assert answer.status_code == 400
    assert "users.yaml" in Page(answer).texts["error-description"]


async def test_a_mistake_that_comes_after_the_page_is_not_taken_for_a_removed_user(users: UsersHarness) -> None:
    login = await users.follow(await users.authorize())
    (users.folder / USERS_FILE).write_text("users: [{id: ada, nmae: Ada}]")
    answer = await users.submit(login, "login", "user-ada")
    assert answer.status_code == 500
    assert "line 1, users[0]: unknown field" in Page(answer).texts["error-description"]


@pytest.mark.parametrize("text", [USERS, "users: []", "users: [{id: 7}]"])
def test_the_file_declares_no_object_and_is_no_broken_manifest(tmp_path: Path, text: str) -> None:
    """In `scopewright dev` and in `scopewright plan`, which read every YAML file of the directory."""
    (tmp_path / USERS_FILE).write_text(text)
    manifests = load(tmp_path)
    assert (dict(manifests.objects), manifests.problems, manifests.incomplete) == ({}, (), frozenset())


async def test_a_change_of_a_listed_user_is_in_the_next_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / USERS_FILE
    file.write_text("users: [{id: ada, groups: [managers]}, {id: grace, groups: [hr-staff]}]")
    async with running_logins() as logins:
        token = (await logins.tokens(user("ada", "managers")))["refresh_token"]
        assert "payroll.write" in (await logins.refresh(token)).json()["scope"]
        file.write_text("users: [{id: ada, name: Ada King, groups: [hr-staff]}]  # no manager any more")
        narrowed = (await logins.refresh(token)).json()
        assert "payroll.write" not in narrowed["scope"]
        claims = await logins.verified(narrowed["id_token"], "leave.leave-worker")
        assert (claims["name"], claims["groups"]) == ("Ada King", ["hr-staff"])


async def test_a_user_who_is_removed_from_the_file_gets_no_further_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / USERS_FILE
    file.write_text("users: [{id: ada, groups: [hr-staff]}, {id: grace}]")
    async with running_logins() as logins:
        session = await logins.session()
        tokens = (await logins.redeem(await logins.code(session, access=()))).json()
        code = await logins.code(session)
        file.write_text("users: [{id: ada, groups: hr-staff}]")
        assert (await logins.refresh(tokens["refresh_token"])).status_code == 200, "a mistake in the file says nothing"
        file.write_text("users: [{id: grace}]")
        for response in (await logins.refresh(tokens["refresh_token"]), await logins.redeem(code)):
            assert (response.status_code, response.json()["error"]) == (400, "invalid_grant")
            assert '"reason":"user_gone"' in logins.harness.audit_lines[-1]
        headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        assert (await logins.harness.http.get("/userinfo", headers=headers)).status_code == 401


async def test_a_user_who_is_removed_from_the_file_is_logged_out(users: UsersHarness) -> None:
    await users.log_in("ada")
    (users.folder / USERS_FILE).write_text("users: [{id: eve, groups: [guests]}]")
    login = await users.follow(await users.authorize())
    assert [*Page(login).forms["login"].buttons] == ["user-eve"]
