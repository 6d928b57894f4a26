"""The switch of an installation with users to the profile FAPI2, on a real API server."""

import json

from scopewright.core.providers.static_users import STATIC_USERS_TYPE
from scopewright.core.records.names import SIGNING_KEY_TYPE

from .installation import Install, Installation, decoded
from .kube import Manifest
from .manifests import USERS, identity_provider, signing_key
from .waiting import until


def algorithms(installation: Installation) -> list[str]:
    """Of the keys for ID tokens, in their records."""
    keys = installation.kube.list("Secret", installation.namespace, fieldSelector=f"type={SIGNING_KEY_TYPE}")
    records = [json.loads(decoded(key)["record.json"]) for key in keys]
    return sorted(record["algorithm"] for record in records if record["signingKey"] == "id-tokens")


def static_users(installation: Installation) -> Manifest:
    """Apply users with passwords; returns their IdentityProvider."""
    metadata = {"name": "staff-users", "namespace": installation.namespace}
    users = {"kind": "Secret", "type": STATIC_USERS_TYPE, "stringData": {"users.yaml": USERS}}
    provider = identity_provider(installation.namespace, "staff", static={"usersRef": {"name": "staff-users"}})
    installation.kube.apply({"apiVersion": "v1", "metadata": metadata, **users})
    installation.apply_and_wait(provider)
    return provider


def test_the_key_of_id_tokens_is_made_anew_when_it_is_deleted_for_the_profile(install: Install) -> None:
    """With ES256, because the profile forbids RS256. The RS256 key stays published for tokens that it has signed."""
    desk = install("switch", resync="1s")
    provider, key = static_users(desk), signing_key(desk.namespace, "id-tokens")
    until(lambda: desk.kube.get("SigningKey", desk.namespace, "id-tokens"))
    desk.wait_until_ready(key)
    assert algorithms(desk) == ["RS256"]
    rs256 = desk.read(key)["metadata"]["uid"]
    assert desk.stop_operator() == 0
    desk.settings["profile"] = "FAPI2"
    desk.config_file.write_text(json.dumps(desk.settings))
    desk.restart_operator_until_leader()
    until(lambda: "the operator creates it again with ES256" in desk.condition(key)["message"])
    published = set(desk.jwks())
    desk.delete(key)
    made = until(lambda: desk.kube.get("SigningKey", desk.namespace, "id-tokens"))
    assert made["metadata"]["uid"] != rs256
    assert made["spec"]["algorithm"] == "ES256"
    desk.wait_until_ready(key, provider)
    assert algorithms(desk) == ["ES256", "RS256"]
    until(lambda: len(set(desk.jwks()) - published) == 1)
    assert published <= set(desk.jwks())
