"""Flags and configuration files: errors name the fault and what to do."""

import socket
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from scopewright.cli.settings import (
    connection_memory,
    listen,
    load_certificate,
    parse_address,
    replay_capacity,
    replay_memory,
    reserve,
    user_endpoints,
    worker_count,
)
from scopewright.config_file import load_config
from scopewright.core.client.credentials import UNCONFIRMED_GRACE
from scopewright.core.config import LeaseTimes
from scopewright.core.failures import Rejected, Unavailable
from scopewright.serving.replay import LocalReplay
from scopewright.serving.shared_replay import SharedReplay
from scopewright.stores.kubernetes.api import REQUEST_TIMEOUT
from tests.harness.samples import ISSUER
from tests.ports import free_port

APPLICATIONS = f"issuer: {ISSUER}\nusers:\n  applications:\n  - hosts: [a.example]\n    "


def test_an_occupied_port_is_reported() -> None:
    with listen("127.0.0.1:0") as listener:
        port = listener.getsockname()[1]
        with pytest.raises(Rejected, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
            listen(f"127.0.0.1:{port}")


@pytest.mark.parametrize("text", ["256.1.1.1:0", "192.0.2.1:0"])
def test_an_address_of_another_host_is_reported(text: str) -> None:
    with pytest.raises(Rejected, match=r"cannot listen .* pass an address of this machine as --listen"):
        listen(text)


@pytest.mark.parametrize("text", ["", "8080", ":8080", "localhost", "localhost:http", "localhost:70000", "[::1]:"])
def test_a_malformed_address_is_rejected(text: str) -> None:
    with pytest.raises(Rejected, match="pass HOST:PORT"):
        parse_address(text)


def test_an_ipv6_address_goes_in_brackets() -> None:
    assert parse_address("[::1]:8080") == ("::1", 8080)


def test_flags_override_the_file(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("issuer: https://other.example.org\nnamespace: here\nmaxTokenLifetime: 30m\n")
    config = load_config(file, {"issuer": ISSUER, "namespace": None})
    assert (config.issuer, config.namespace) == (ISSUER, "here")
    assert config.max_token_lifetime == timedelta(minutes=30)


def test_a_flag_for_one_field_keeps_the_other_fields_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(f"issuer: {ISSUER}\nlease: {{duration: 20s, renewDeadline: 10s}}\n")
    nothing = {"qps": None, "burst": None}
    config = load_config(file, {"lease": {"duration": None, "renewDeadline": "15s"}, "kubeApi": nothing})
    assert (config.lease.duration, config.lease.renew_deadline) == (timedelta(seconds=20), timedelta(seconds=15))
    assert config.kube_api.qps == 0
    limited = load_config(None, {"issuer": ISSUER, "workers": 4, "kubeApi": {"qps": 20.0, "burst": 40}})
    assert (limited.workers, limited.kube_api.qps, limited.kube_api.burst) == (4, 20, 40)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lease": {"duration": "5s"}}, "lease: renewDeadline must be at least 2s less than duration"),
        ({"lease": {"renewDeadline": "6001ms"}}, "renewDeadline must be at least 2s less than duration"),
        ({"lease": {"duration": "2s"}}, "duration must be a whole number of seconds between 3s and 30s"),
        ({"lease": {"duration": "60s"}}, "duration must be a whole number of seconds between 3s and 30s"),
        ({"lease": {"duration": "7500ms"}}, "duration must be a whole number of seconds"),
        ({"lease": {"retryPeriod": "4s"}}, "retryPeriod must be at least 100ms, and at most half of renewDeadline"),
        ({"lease": {"renewDeadline": "soon"}}, "lease.renewDeadline"),
        ({"kubeApi": {"qps": 20.0}}, "qps and burst must both be set, or both be 0 for no limit"),
        ({"kubeApi": {"qps": -1.0, "burst": 1}}, "kubeApi.qps"),
        ({"workers": 0}, "workers"),
    ],
)
def test_lease_times_request_rate_and_workers_are_checked(given: dict[str, Any], message: str) -> None:
    with pytest.raises(Rejected) as rejected:
        load_config(None, {"issuer": ISSUER, **given})
    assert message in rejected.value.message


def test_a_write_under_the_longest_lease_ends_before_its_digest_is_dropped() -> None:
    longest = LeaseTimes.model_validate({"duration": "30s"}).duration
    assert longest + timedelta(seconds=REQUEST_TIMEOUT) <= UNCONFIRMED_GRACE


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "must hold a mapping"),
        ("- a", "must hold a mapping"),
        ("a: [", "is not YAML"),
        ("namespace: here", "  issuer: is required; add it"),
        (f"issuer: {ISSUER}\nisuer: x", "  isuer: unknown field; did you mean issuer?"),
        (
            f"issuer: {ISSUER}\nmaxtokenlifetime: 1h",
            "  maxtokenlifetime: unknown field; did you mean maxTokenLifetime?",
        ),
        (f"issuer: {ISSUER}\nx: 1", "  x: unknown field; remove it"),
        (
            APPLICATIONS + "namespaces: hr",
            "  users.applications.0.namespaces: must be a list; put '- ' before each item",
        ),
        (APPLICATIONS + "namespaces: []", "  users.applications.0.namespaces: must have at least 1 item; add it"),
        (
            APPLICATIONS + "namespaces: [hr]\n    host: a",
            "  users.applications.0.host: unknown field; did you mean hosts?",
        ),
        (APPLICATIONS + "namespaces: [H R]", "  users.applications.0.namespaces.0: 'H R' is not a namespace"),
        (f"issuer: {ISSUER}\nusers: [a]", "  users: must be a mapping"),
        (f"issuer: {ISSUER}\nworkers: 0", "  workers: must be greater than or equal to 1"),
        (f"issuer: {ISSUER}/", "trailing slash"),
        ("issuer: http://issuer.example.org", "http is allowed for loopback only"),
        ("issuer: issuer.example.org", "absolute URL"),
        (f"issuer: {ISSUER}?a=b", "without query"),
        (f"issuer: {ISSUER}\nresync: 2 weeks", "resync"),
        (f"issuer: {ISSUER}\nresync: 1h", "between 1s and 10m"),
        (f"issuer: {ISSUER}\naudiences: [{{prefix: 'https://a.example'}}]", "audiences.0.namespaces: is required"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_refused(content: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(content)
    with pytest.raises(Rejected) as rejected:
        load_config(file, {})
    assert message in rejected.value.message
    assert str(file) in rejected.value.message


def test_a_list_with_a_wrong_item_is_one_error(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(APPLICATIONS + "namespaces: [H R]")
    with pytest.raises(Rejected) as rejected:
        load_config(file, {})
    assert len(rejected.value.message.splitlines()) == 2, "the file, and the item"


def test_a_file_that_is_missing_or_not_text_is_reported(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="cannot be read"):
        load_config(tmp_path / "none.yaml", {})
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Rejected, match="cannot be read"):
        load_config(tmp_path / "binary.yaml", {})


def test_workers_are_a_number_or_that_of_the_cpus() -> None:
    assert worker_count("3") == 3
    assert worker_count("auto") >= 1
    for text in ("0", "-1", "many", ""):
        with pytest.raises(Rejected, match="pass 1 or more, or auto"):
            worker_count(text)


def test_a_reserved_port_is_shared_by_workers_and_occupied_for_others() -> None:
    with reserve("127.0.0.1:0") as reserved:
        address = reserved.getsockname()
        with socket.socket() as worker:
            worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            worker.bind(address)
            worker.listen()
            with pytest.raises(Rejected, match="Address already in use"):
                reserve(f"127.0.0.1:{address[1]}")
            with pytest.raises(Rejected, match="Address already in use"):
                listen(f"127.0.0.1:{address[1]}")


def test_tls_needs_both_files() -> None:
    assert load_certificate(None, None) is None
    with pytest.raises(Rejected, match="both --tls-cert and --tls-key"):
        load_certificate(Path("tls.crt"), None)


def test_several_workers_need_a_shared_replay_memory() -> None:
    """Unless `--replay per-process` accepts a memory for each process."""
    with pytest.raises(Rejected, match="--replay redis://host:6379/0"):
        replay_memory("memory", 2)
    with pytest.raises(Rejected, match="must be a URL"):
        replay_memory("memcached://host", 2)
    assert isinstance(replay_memory("memory", 1)(), LocalReplay)
    assert isinstance(replay_memory("per-process", 2)(), LocalReplay)
    assert isinstance(replay_memory("redis://127.0.0.1:1/0", 2)(), SharedReplay)


async def test_the_capacity_of_the_replay_memory_is_a_setting() -> None:
    assert replay_capacity(0) is None
    for number in (-1, 1, 999):
        with pytest.raises(Rejected, match="--replay-capacity must be 1000 entries or more"):
            replay_capacity(number)
    memory = replay_memory("memory", 1, replay_capacity(1000))()
    until = time.time() + 3600
    assert all([await memory.first_use("apps.a", str(number), until) for number in range(112)]), (
        "less than a ninth of the capacity for one client"
    )
    with pytest.raises(Unavailable):
        await memory.first_use("apps.a", "one more", until)
    shared = replay_memory("redis://127.0.0.1:1/0", 1, 5000)()
    assert isinstance(shared, SharedReplay)
    assert shared._shares._free == 5000


def test_the_memory_of_connections_is_a_kubernetes_quantity() -> None:
    assert connection_memory("64Mi") == 64 * 2**20
    assert connection_memory("1Gi") == 2**30
    assert connection_memory("5000000") == 5_000_000
    for text in ("", "64", "3Mi", "64M", "-64Mi", "1.5Gi", "Mi", "６４Mi"):
        with pytest.raises(Rejected, match="must be a quantity such as 64Mi, and at least 4Mi"):
            connection_memory(text)


def test_users_log_in_only_with_a_session_store(tmp_path: Path) -> None:
    assert user_endpoints(None, "apps")() is None
    file = tmp_path / "volume" / "sessions.db"
    users = user_endpoints(str(file), "apps")
    assert file.exists(), "the file is checked before processes are started that share it"
    first, second = users(), users()
    assert first is not None
    assert second is not None
    assert first.store is not second.store, "a process must not use the store of the one that started it"
    assert (first.developer, first.allow_loopback) == (None, False)


def test_a_session_store_that_cannot_be_written_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Rejected, match=r"cannot be opened: Not a directory\. Choose a path on a local volume"):
        user_endpoints(str(tmp_path / "file" / "sessions.db"), "apps")


def test_a_shared_session_store_that_is_away_does_not_keep_clients_from_their_tokens(
    caplog: pytest.LogCaptureFixture,
) -> None:
    users = user_endpoints(f"valkey://:pass-word@127.0.0.1:{free_port()}/0", "apps")
    first, second = users(), users()
    assert first is not None
    assert second is not None
    assert first.store is not second.store, "each process has connections of its own"
    assert "users cannot log in: the session store is unavailable" in caplog.text
    assert "pass-word" not in caplog.text


@pytest.mark.parametrize("url", ["reddis://host", "redis://host:port", "rediss://host?unknown=1", "https://host"])
def test_a_url_of_no_session_store_is_refused_at_the_start(url: str) -> None:
    with pytest.raises(Rejected, match="the session store must be a URL such as redis://host:6379/0"):
        user_endpoints(url, "apps")
