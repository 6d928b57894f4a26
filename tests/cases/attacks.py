"""The table of attacks on signed JWTs, for the verifier, and for the issuer with assertions and subject tokens.

Each token is refused, by the verifier for its `reason`. Some are signed with the published key, as by a careless
signer, and must be refused although the signature is valid.
"""

from tests.cases import attack_claims, attack_forms, attack_keys
from tests.cases.forge import Attack, Forge

__all__ = ["Attack", "Forge", "attacks"]


def attacks(forge: Forge) -> list[Attack]:
    groups = (*attack_keys.GROUPS, *attack_forms.GROUPS, *attack_claims.GROUPS)
    found = [attack for group in groups for attack in group(forge)]
    assert len({attack.name for attack in found}) == len(found)
    return found
