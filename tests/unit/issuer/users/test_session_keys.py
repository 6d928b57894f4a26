"""The issuer reads the keys of sessions from the Secret of exact name and type, and keeps them in the snapshot."""

from pathlib import Path

import pytest

from scopewright.core.records.names import KEY_ENTRY, SESSION_KEY_NAME, SIGNING_KEY_TYPE, previous_key_entry
from scopewright.stores.sessions.sealed import SessionKeys
from tests.harness.issuer import IssuerHarness, settle

CURRENT, PREVIOUS, OTHER = b"c" * 32, b"p" * 32, b"o" * 32


async def test_keys_are_read_and_replaced() -> None:
    harness = IssuerHarness()
    harness.install_defaults()
    async with harness.running():
        assert harness.issuer.registry.session_keys is None
        harness.put_session_key({KEY_ENTRY: PREVIOUS})
        await settle()
        assert harness.issuer.registry.session_keys == SessionKeys(PREVIOUS, current_since=300.0)
        harness.put_session_key({KEY_ENTRY: CURRENT, previous_key_entry(1): PREVIOUS, previous_key_entry(2): b"short"})
        await settle()
        assert harness.issuer.registry.session_keys == SessionKeys(CURRENT, (PREVIOUS,), current_since=300.0)
        harness.delete_object("Secret", SESSION_KEY_NAME)
        await settle()
        assert harness.issuer.registry.session_keys == SessionKeys(CURRENT, (PREVIOUS,), current_since=300.0)


async def test_another_secret_is_not_read(caplog: pytest.LogCaptureFixture) -> None:
    harness = IssuerHarness()
    harness.install_defaults()
    harness.put_session_key({KEY_ENTRY: CURRENT})
    async with harness.running():
        harness.put_session_key({KEY_ENTRY: OTHER}, name="another-name")
        harness.put_object("Secret", SESSION_KEY_NAME, {KEY_ENTRY: OTHER}, type="Opaque")
        harness.put_object("Secret", SESSION_KEY_NAME, {KEY_ENTRY: OTHER}, type=SIGNING_KEY_TYPE)
        harness.put_object("ConfigMap", SESSION_KEY_NAME, {KEY_ENTRY: OTHER})
        for malformed in ({}, {KEY_ENTRY: b"s" * 31}):
            harness.put_session_key(malformed)
            await settle()
        keys = harness.issuer.registry.session_keys
        assert keys is not None
        assert keys.current == CURRENT
    assert not any(text in caplog.text for text in ("ssss", "oooo", "cccc"))
    assert "c" * 32 not in repr(keys)


async def test_keys_are_in_the_snapshot(tmp_path: Path) -> None:
    harness = IssuerHarness(snapshot=tmp_path / "snapshot")
    harness.install_defaults()
    harness.put_session_key({KEY_ENTRY: CURRENT, previous_key_entry(1): PREVIOUS})
    async with harness.running():
        await settle()
    again = IssuerHarness(snapshot=tmp_path / "snapshot")
    again.store.unavailable = True
    async with again.running():
        assert again.issuer.registry.session_keys == SessionKeys(CURRENT, (PREVIOUS,), current_since=300.0)
