"""Hostnames and rules on a real API server: in force, claimed, refused, and narrowed by the platform."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from scopewright.core.records.names import ENTRY, hostname_claim_name, resource_server_record_name

from .installation import Install, Installation
from .kube import Manifest
from .manifests import resource_server
from .waiting import until

MakeNamespace = Callable[[str], str]

READ = {"name": "read", "methods": ["GET"], "paths": ["/salaries/**"], "scopes": ["payroll.read"]}
HEALTH = {"name": "health", "paths": ["/healthz"], "authentication": "None"}


@pytest.fixture(scope="module")
def hosts(install: Install) -> Installation:
    gateway = {
        "hostnames": [{"suffix": "apps.example", "perNamespace": True}],
        "unauthenticatedPaths": ["/healthz", "/livez"],
    }
    return install("hosts", resync="1s", gateway=gateway)


def api(namespace: str, name: str, *rules: dict[str, Any], **http: Any) -> Manifest:
    given = {"hostnames": [hostname(namespace)], "rules": list(rules or (READ, HEALTH)), **http}
    return resource_server(namespace, name, "payroll.read", http=given)


def hostname(namespace: str) -> str:
    return f"payroll.{namespace}.apps.example"


def in_force(hosts: Installation, manifest: Manifest) -> dict[str, Any]:
    """`http` of the record; empty without one."""
    meta = manifest["metadata"]
    name = resource_server_record_name(meta["namespace"], meta["name"])
    found = hosts.kube.get("ConfigMap", hosts.namespace, name)
    return dict(json.loads(found["data"][ENTRY]).get("http") or {}) if found else {}


def rules_in_force(hosts: Installation, manifest: Manifest) -> list[str]:
    return [rule["name"] for rule in in_force(hosts, manifest).get("rules", ())]


def test_hostnames_and_rules_are_in_force_and_shown(hosts: Installation, make_namespace: MakeNamespace) -> None:
    namespace = make_namespace("payroll")
    payroll = api(namespace, "payroll")
    hosts.apply_and_wait(payroll)
    assert hosts.status(payroll)["http"] == {"hostnames": [hostname(namespace)], "unauthenticated": ["* /healthz"]}
    assert rules_in_force(hosts, payroll) == ["read", "health"]
    assert hosts.condition(payroll, "ResourceMetadata")["reason"] == "AudienceIsNotItsURL"
    claim = hosts.kube.get("ConfigMap", hosts.namespace, hostname_claim_name(hostname(namespace), "/"))
    assert claim is not None
    wide = hosts.kubectl("-n", namespace, "get", "resourceserver", "payroll", "-o", "wide")
    assert hostname(namespace) in wide
    assert hostname(namespace) not in hosts.kubectl("-n", namespace, "get", "resourceserver", "payroll")


def test_a_hostname_stays_with_its_owner_until_the_platform_releases_it(
    hosts: Installation, make_namespace: MakeNamespace
) -> None:
    namespace = make_namespace("payroll")
    first, second = api(namespace, "first"), api(namespace, "second", READ)
    hosts.apply_and_wait(first)
    hosts.apply(second)
    message = hosts.wait_for(second, "HostnameConflict")["message"]
    assert f"https://{hostname(namespace)} is taken" in message
    hosts.apply_and_wait(api(namespace, "second", READ, basePath="/v2"))
    hosts.apply(second)
    hosts.wait_for(second, "HostnameConflict")
    assert in_force(hosts, second)["basePath"] == "/v2", "the last good base path is no longer in force"
    hosts.delete(first)
    until(lambda: not in_force(hosts, first))
    hosts.wait_two_resyncs()
    assert hosts.condition(second)["reason"] == "HostnameConflict"
    hosts.kube.delete("ConfigMap", hosts.namespace, hostname_claim_name(hostname(namespace), "/"))
    hosts.wait_until_ready(second)
    assert in_force(hosts, second)["basePath"] == "/"


def test_refused_rules_leave_the_last_good_ones_in_force(hosts: Installation, make_namespace: MakeNamespace) -> None:
    namespace = make_namespace("payroll")
    payroll = api(namespace, "payroll")
    hosts.apply_and_wait(payroll)
    for reason, rule in {
        "RuleConflict": {**READ, "name": "again"},
        "PublicCoversProtected": {"name": "all", "paths": ["/**"], "authentication": "None"},
        "PublicNotAllowed": {"name": "docs", "paths": ["/docs"], "authentication": "Optional"},
        "UnknownScope": {"name": "write", "paths": ["/write"], "scopes": ["payroll.write"]},
        "UnknownRole": {"name": "write", "paths": ["/write"], "roles": ["manager"]},
    }.items():
        hosts.apply(api(namespace, "payroll", READ, HEALTH, rule))
        hosts.wait_for(payroll, reason)
        assert hosts.condition(payroll, "Stalled")["status"] == "True"
        assert rules_in_force(hosts, payroll) == ["read", "health"]
    hosts.apply(api(namespace, "payroll", hostnames=["payroll.another.apps.example"]))
    assert hostname(namespace) not in hosts.wait_for(payroll, "HostnameNotAllowed")["message"]
    assert in_force(hosts, payroll)["hostnames"] == [hostname(namespace)]
    hosts.apply_and_wait(resource_server(namespace, "payroll", "payroll.read"))
    assert in_force(hosts, payroll) == {}


def test_what_the_platform_no_longer_allows_is_refused_at_once(
    hosts: Installation, make_namespace: MakeNamespace
) -> None:
    namespace = make_namespace("payroll")
    payroll = api(namespace, "payroll")
    hosts.apply_and_wait(payroll)
    before = hosts.config_file.read_text()
    try:
        for gateway, reason in (
            ({**hosts.settings["gateway"], "unauthenticatedPaths": ["/livez"]}, "PublicNotAllowed"),
            ({"unauthenticatedPaths": ["/**"]}, "HostnameNotAllowed"),
        ):
            hosts.config_file.write_text(json.dumps({**hosts.settings, "gateway": gateway}))
            hosts.stop_operator()
            hosts.start_operator()
            hosts.wait_until_ready_and_leader()
            hosts.wait_for(payroll, reason)
        assert in_force(hosts, payroll)["hostnames"] == []
        assert rules_in_force(hosts, payroll) == ["read"]
        assert in_force(hosts, payroll)["refused"] == ["/healthz"]
    finally:
        hosts.config_file.write_text(before)
        hosts.stop_operator()
        hosts.start_operator()
        hosts.wait_until_ready_and_leader()
    hosts.wait_until_ready(payroll)
    assert rules_in_force(hosts, payroll) == ["read", "health"]
