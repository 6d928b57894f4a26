"""docs/users/static-users.md: its commands make a file of users, and its figures are those of the code."""

import os
import subprocess
import sys
from pathlib import Path

from scopewright.core.providers import password_hash, user_file
from scopewright.core.providers.static_users import MAX_RECORD_ENTRY, StaticUser, parse_static_users
from scopewright.issuer.upstream import computations
from scopewright.issuer.upstream import password_budgets as budgets
from scopewright.issuer.upstream.passwords import is_password_of
from tests.documents import ROOT, Document

PAGE = Document(ROOT / "docs/users/static-users.md")


def test_the_commands_of_the_page_make_users(tmp_path: Path) -> None:
    (tmp_path / "scopewright").write_text(f'#!/bin/sh\nexec {sys.executable} -m scopewright.cli "$@"\n')
    (tmp_path / "scopewright").chmod(0o755)
    [script] = [block.text for block in PAGE.blocks if block.title == "make-users.sh"]
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run(
        ["sh", "-euc", script], cwd=tmp_path, env=environment, input=b"correct horse\n", check=True, timeout=60
    )
    [user] = parse_static_users((tmp_path / "users.yaml").read_bytes())
    assert (user.id, user.login_name, user.groups) == ("7f2c91d4", "grace", ["hr-staff", "payroll-managers"])
    assert is_password_of(user.password_hash, b"correct horse")


def test_the_page_has_every_field() -> None:
    fields = [field.alias or name for name, field in StaticUser.model_fields.items()]
    assert [field for field in fields if f"`{field}`" not in PAGE.text] == []


def test_the_figures_of_the_page_are_those_of_the_code() -> None:
    bounds = {
        "file": (
            f"{user_file.MAX_FILE >> 20} MiB, {user_file.MAX_USERS:,} users; {user_file.MAX_GROUPS} groups",
            f"{MAX_RECORD_ENTRY >> 10} KiB as JSON",
        ),
        "hash": (
            *(f"`m={memory},t={times}`" for memory, times in password_hash.MIN_PARAMETERS[1:]),
            f"`m={password_hash.MAX_MEMORY_KIB}`",
            f"`t={password_hash.MAX_ITERATIONS}`",
            f"`p={password_hash.LANES}`",
        ),
        "password": (f"{password_hash.MAX_PASSWORD:,} bytes",),
        "checks of passwords": (f"and {computations.QUEUE} that wait", f"{computations.CONCURRENCY} × 64 MiB"),
        "guesses for a user from an address": (f"… {budgets.MAX_DELAY_SECONDS / 60:.0f} minutes",),
        "guesses from an address": (
            f"{budgets.ADDRESS_BURST} at once, then one each {budgets.ADDRESS_INTERVAL_SECONDS:.0f} s",
        ),
        "guesses for a user from everywhere": (
            f"{budgets.USER_BURST} at once; then one each {budgets.USER_INTERVAL_SECONDS:.0f} s",
            f"wait up to {budgets.MAX_WAIT_SECONDS:.0f} s",
        ),
    }
    rows = dict(line.strip("| ").split(" | ", 1) for line in PAGE.text.splitlines() if line.startswith("| "))
    missing = {what: [each for each in figures if each not in rows[what]] for what, figures in bounds.items()}
    assert {what: figures for what, figures in missing.items() if figures} == {}
