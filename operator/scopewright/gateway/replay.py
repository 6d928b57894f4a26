"""The replay memory of DPoP proofs, as the verifier uses it."""

from scopewright.core.failures import Unavailable
from scopewright.serving.replay import ReplayStore
from scopewright.verifier.refusals import KeysUnavailable


class ProofReplay:
    """`verifier.replay.Replay` on a memory of the servers. No proof is accepted unchecked."""

    def __init__(self, store: ReplayStore) -> None:
        self._store = store

    async def first_use(self, owner: str, value: str, until: float) -> bool:
        try:
            return await self._store.first_use(owner, value, until)
        except Unavailable as unavailable:
            description = "DPoP proofs cannot be checked at present; try again"
            raise KeysUnavailable(unavailable.retry_after, description, unavailable.message) from None
