"""The benchmarks run on the real control plane and write the documented figures."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.__main__ import BENCHMARKS
from tests.cluster.waiting import until
from tests.debian import program

ROOT = Path(__file__).resolve().parents[2]
REQUIRED_FIGURES = {"clients", "seconds", "bare_seconds", "ratio", "operator_peak_mb", "issuer_peak_mb"}


def _restore_sigint() -> None:
    """Children of a background job ignore SIGINT by default."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _bench(*arguments: str, assets: Path | None = None) -> "subprocess.Popen[str]":
    """`assets` is the directory of etcd and kube-apiserver. Default: the one that every other test uses."""
    command = [sys.executable, "-m", "bench", *arguments]
    where = {"KUBEBUILDER_ASSETS": str(assets), "KUBECONFIG": ""} if assets else {}
    return subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **where}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, preexec_fn=_restore_sigint,
    )  # fmt: skip


def _children(pid: int) -> set[int]:
    """Children of every thread: the control plane starts its processes from a thread of its own."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return {int(child) for task in tasks for child in task.read_text().split()}


def test_reconcile_writes_its_figures(tmp_path: Path) -> None:
    running = _bench("reconcile", "--clients", "5", "--out", str(tmp_path))
    out, errors = running.communicate(timeout=300)
    assert running.returncode == 0, errors
    assert "ratio" in out
    figures: dict[str, Any] = json.loads((tmp_path / "reconcile.json").read_text())
    assert figures["benchmark"] == "reconcile"
    assert figures["machine"]["cores"] == os.cpu_count()
    (run,) = figures["runs"]
    assert run.keys() >= REQUIRED_FIGURES
    assert run["clients"] == 5
    assert 0 < run["seconds_ready"] <= run["seconds"]
    assert run["bare_seconds"] > 0
    assert 20 < run["operator_peak_mb"] < 400
    assert 20 < run["issuer_peak_mb"] < 150
    assert 0 < run["one_more"]["p50_ms"] <= run["one_more"]["p99_ms"]
    assert run["grant_withdrawn_seconds"] >= 0, "0: no request got a token after the deletion"


def test_startup_writes_its_figures(tmp_path: Path) -> None:
    running = _bench("startup", "--starts", "2", "--out", str(tmp_path))
    _, errors = running.communicate(timeout=300)
    assert running.returncode == 0, errors
    processes = json.loads((tmp_path / "startup.json").read_text())["processes"]
    assert processes["scopewright token"]["budget_ms"] == 300
    assert 0 < processes["python -c pass"]["p50_ms"] < processes["scopewright token"]["p50_ms"]
    assert processes.keys() >= {"curl", "import jwt", "import scopewright.verifier"}


def test_verify_writes_its_figures(tmp_path: Path) -> None:
    running = _bench("verify", "--tokens", "20", "--out", str(tmp_path))
    out, errors = running.communicate(timeout=300)
    assert running.returncode == 0, errors
    assert "PyJWT with PyJWKClient" in out
    algorithms = json.loads((tmp_path / "verify.json").read_text())["algorithms"]
    for algorithm in ("ES256", "RS256"):
        verifiers = algorithms[algorithm]
        assert verifiers.keys() == {"scopewright.verifier", "PyJWT", "PyJWT with PyJWKClient", "Authlib", "joserfc"}
        assert all(each["new_per_second"] > 0 and each["seen_per_second"] > 0 for each in verifiers.values())


def test_ctrl_c_ends_every_child_process(tmp_path: Path) -> None:
    running = _bench("reconcile", "--clients", "2000", "--out", str(tmp_path))
    assert running.stdout is not None
    assert any("2,000 clients" in line for line in running.stdout), "it ended before the first step"
    started = _children(running.pid)
    assert len(started) >= 3
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=300)
    assert running.returncode == 130
    assert errors == "bench: interrupted before it was complete\n"
    assert not any(Path(f"/proc/{pid}").exists() for pid in started)
    assert not list(tmp_path.iterdir())


def test_ctrl_c_ends_the_wait_for_a_control_plane(tmp_path: Path) -> None:
    """The control plane never becomes ready; without Ctrl-C the wait would fail after two minutes."""
    assets, begun = tmp_path / "assets", tmp_path / "begun"
    assets.mkdir()
    for name in ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl"):
        command = f"mkdir {begun}" if name == "kube-apiserver" else ":"
        (assets / name).write_text(f"#!/bin/sh\n{command}\nexec sleep 3600\n")
        (assets / name).chmod(0o755)
    running = _bench("reconcile", "--out", str(tmp_path / "out"), assets=assets)
    until(lambda: begun.exists() or running.poll() is not None)
    started = _children(running.pid)
    assert len(started) == 2
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=300)
    assert errors == "bench: interrupted before it was complete\n"
    assert running.returncode == 130
    assert not any(Path(f"/proc/{pid}").exists() for pid in started)


def test_an_unknown_name_lists_the_benchmarks(tmp_path: Path) -> None:
    running = _bench("reconcil", "--out", str(tmp_path))
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 2
    assert f"unknown benchmark reconcil; choose from: {', '.join(BENCHMARKS)}" in errors
    assert "gateway, gateway-latency, gateway-outage, reconcile" in errors


def test_rotation_counts_failures_and_finds_none(tmp_path: Path) -> None:
    few = ("--clients", "8", "--key-rotations", "2", "--credential-rotations", "24", "--credential-rate", "2")
    running = _bench(
        "rotation", *few, "--token-rate", "20", "--token-lifetime", "5", "--seed", "1", "--out", str(tmp_path)
    )
    out, errors = running.communicate(timeout=300)
    assert running.returncode == 0, errors
    assert "seed: 1" in out
    figures: dict[str, Any] = json.loads((tmp_path / "rotation.json").read_text())
    assert figures["complete"]
    assert figures["key_rotations"] >= 2
    assert figures["credential_rotations"] >= 24
    # The run ends while a few new tokens are still on their way to both verifiers.
    assert 0 < figures["verifications"] <= 2 * figures["token_requests"] < figures["verifications"] + 20
    assert figures["secrets_tried"] > 24
    assert figures["kills"] > 0
    assert figures["keys_revoked_seconds"] > 0
    wrong = ("failed_token_requests", "refused_valid_tokens", "secrets_refused", "keys_signed_too_early")
    assert {name: figures[name] for name in wrong} == dict.fromkeys(wrong, 0), figures["failures"]


def test_takeover_loses_leaders_without_a_failed_request(tmp_path: Path) -> None:
    few = ("--clients", "4", "--times", "1", "--token-lifetime", "5", "--out", str(tmp_path))
    running = _bench("takeover", *few)
    _, errors = running.communicate(timeout=300)
    assert running.returncode == 0, errors
    figures: dict[str, Any] = json.loads((tmp_path / "takeover.json").read_text())
    assert {how: lost["times"] for how, lost in figures["takeovers"].items()} == {
        "killed": 1,
        "frozen": 1,
        "stopped": 1,
    }
    assert figures["credential_rotations"] == figures["rotations_asked"] == 16
    assert figures["token_requests"] > 0
    wrong = ("two_led", "secrets_refused", "failed_token_requests", "refused_valid_tokens")
    assert {name: figures[name] for name in wrong} == dict.fromkeys(wrong, 0), figures["failures"]


def test_tokens_writes_its_figures(tmp_path: Path) -> None:
    program("wrk", package="wrk")
    few = ("--rounds", "1", "--seconds", "1", "--clients", "1000", "--case", "rs256", "--no-peer")
    running = _bench("tokens", *few, "--out", str(tmp_path), "--plot", str(tmp_path / "tokens.png"))
    out, errors = running.communicate(timeout=120)
    assert running.returncode == 0, errors
    assert "bare ES256 signatures" in out
    figures: dict[str, Any] = json.loads((tmp_path / "tokens.json").read_text())
    assert list(figures["cases"]) == ["es256", "rs256"]
    assert figures["es256_per_second"] == figures["cases"]["es256"]["per_second"] > 0
    assert 0 < figures["p50_ms"] <= figures["p99_ms"]
    assert figures["signing_limit_per_second"] > figures["es256_per_second"]
    assert figures["cpu_over_signature"] > 1
    assert list(figures["floors"]) == ["fixed", "es256", "rs256"]
    for case in figures["cases"].values():
        assert case["floor_us"] == figures["floors"][case["floor"]]["cpu_us"] > figures["floors"]["fixed"]["cpu_us"]
        assert case["cpu_over_floor"] > 1
    assert figures["ratio"] is None, "nothing to compare with"
    assert figures["worker_peak_mb"] < 150
    assert figures["seconds_until_ready"] > 0
    assert (tmp_path / "tokens.png").read_bytes().startswith(b"\x89PNG")


def test_assertions_and_introspection_get_successful_answers_only(tmp_path: Path) -> None:
    program("wrk", package="wrk")
    program("valkey-server", "redis-server", package="redis-server")
    results = {"private-key-jwt": "issued", "service-account": "issued", "introspection": "active"}
    few = ("--rounds", "1", "--seconds", "1", "--clients", "1000", "--no-peer", *(f"--case={case}" for case in results))
    running = _bench("tokens", *few, "--out", str(tmp_path), "--logs", str(tmp_path / "logs"))
    _, errors = running.communicate(timeout=300)
    assert running.returncode == 0, errors
    figures: dict[str, Any] = json.loads((tmp_path / "tokens.json").read_text())
    assert list(figures["cases"]) == ["es256", *results]
    for case, result in results.items():
        lines = (tmp_path / "logs" / f"{case}.audit").read_text().splitlines()
        counted = [line for line in lines if json.loads(line)["result"] == result]
        assert len(counted) >= figures["cases"][case]["per_second"] > 0
        assert {json.loads(line)["result"] for line in lines} <= {result, "issued"}


def test_gateway_latency_measures_each_way_beside_its_proxy_without_a_check(tmp_path: Path) -> None:
    program("wrk", package="wrk")
    ways = ("nginx-gateway", "envoy-gateway", "envoy-jwt")
    few = ("--gateway-rounds", "1", "--gateway-seconds", "1", *(f"--way={way}" for way in ways))
    running = _bench("gateway-latency", *few, "--out", str(tmp_path))
    out, errors = running.communicate(timeout=300)
    assert running.returncode == 0, errors
    assert "nginx, auth_request to the gateway" in out
    figures: dict[str, Any] = json.loads((tmp_path / "gateway-latency.json").read_text())
    assert figures["ways"].keys() == {"nginx", "envoy", *ways}
    for name, way in figures["ways"].items():
        base = figures["ways"][name.partition("-")[0]]["latency"]
        assert way["rate"]["per_second"] > 0
        assert 0 < way["latency"]["p50_ms"] <= way["latency"]["p99_ms"]
        assert way["latency"]["added_p50_ms"] == round(way["latency"]["p50_ms"] - base["p50_ms"], 3)


def test_gateway_outage_fails_no_request_with_a_valid_token(tmp_path: Path) -> None:
    """Keys are published for 5 s before they sign, not 34: the second one signs as soon as the issuer is back."""
    few = ("--clients", "8", "--outage-seconds", "5", "--key-fetch-seconds", "1", "--outage-rate", "20")
    running = _bench("gateway-outage", *few, "--out", str(tmp_path))
    _, errors = running.communicate(timeout=400)
    assert running.returncode == 0, errors
    figures: dict[str, Any] = json.loads((tmp_path / "gateway-outage.json").read_text())
    assert figures["key_rotations"] == 2
    assert figures["credential_rotations"] > 0
    assert figures["client_starts"] > 0
    for phase in figures["phases"].values():
        for proxy in ("nginx", "envoy"):
            assert phase[proxy]["requests"] > 0
            assert phase[proxy]["revoked_refused"] > 0
    wrong = ("failed", "failed_client_starts", "revoked_accepted")
    assert {name: figures[name] for name in wrong} == dict.fromkeys(wrong, 0), figures["failures"]


def test_users_writes_its_figures(tmp_path: Path) -> None:
    """Beside tokens the store is killed and suspended, so this also shows that the issuer recovers from both."""
    program("wrk", package="wrk")
    program("valkey-server", "redis-server", package="redis-server")
    few = ("--user-rounds", "1", "--user-seconds", "1", "--no-user-peer", "--login-rate", "5", "--refresh-rate", "10")
    running = _bench("users", *few, "--out", str(tmp_path))
    out, errors = running.communicate(timeout=300)
    assert running.returncode == 0, errors
    assert "client tokens in overload, store killed" in out
    figures: dict[str, Any] = json.loads((tmp_path / "users.json").read_text())
    assert figures["ratios"] == {}, "nothing to compare with"
    assert figures["servers"].keys() == {"scopewright-rs256", "scopewright-es256", "scopewright-rs256-sqlite"}
    for server in figures["servers"].values():
        for load in ("login", "refresh", "rotation"):
            assert server[load]["per_second"] > 0
            assert 0 < server[load]["p50_ms"] <= server[load]["p99_ms"]
    within = figures["within_capacity"]
    assert within["states"].keys() == {"alone", "with users"}
    assert 0 < within["rates"]["tokens"] < within["capacity"]["tokens"]
    assert all(within["states"]["with users"][f"{load}_per_second"] > 0 for load in within["rates"])
    states = figures["beside_tokens"]["states"]
    assert states.keys() == {"alone", "with users", "store hangs", "store killed", "provider hangs"}
    assert all(state["per_second"] > 0 for state in states.values())
    assert states["store killed"]["refreshes_done"] == 0
    assert states["store killed"]["refreshes_refused"] + states["store killed"]["refreshes_failed"] > 0
