"""The list of attacks on signed JWTs, as one table for whoever takes them: the verifier, and the issuer for assertions
and subject tokens.

Each token is refused, by the verifier with the `reason` that is given. Some are signed with the right key, as a
careless signer would: these must be refused although their signature is good.
"""

from tests.cases import attack_claims, attack_forms, attack_keys
from tests.cases.forge import Attack, Forge

__all__ = ["Attack", "Forge", "attacks"]


def attacks(forge: Forge) -> list[Attack]:
    groups = (*attack_keys.GROUPS, *attack_forms.GROUPS, *attack_claims.GROUPS)
    found = [attack for group in groups for attack in group(forge)]
    assert len({attack.name for attack in found}) == len(found)
    return found
