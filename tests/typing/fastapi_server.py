"""A service with FastAPI, as `mypy --strict` sees it."""

from typing import Annotated, assert_type

from fastapi import APIRouter, FastAPI, Security, WebSocket

from scopewright.verifier import AnyIssuer, Token, Verifier
from scopewright.verifier.fastapi import TokenAuth

auth = TokenAuth(Verifier("https://issuer.example", "https://payroll.example"), scopes=["a"], realm="payroll")
of_several_issuers = TokenAuth(AnyIssuer(Verifier("https://issuer.example", "https://payroll.example")))
described = TokenAuth(Verifier("https://issuer.example", "https://payroll.example"), resource_metadata=True)
app = FastAPI(dependencies=[Security(auth, scopes=["payroll.read"])])
described.add_metadata_route(app)
router = APIRouter(dependencies=[Security(auth.require("payroll.read", any_of=("a", "b"), roles="owner"))])
Auditor = Annotated[Token, Security(auth.require(roles=["auditor"]))]


@app.get("/salaries")
async def salaries(token: Annotated[Token, Security(auth, scopes=["payroll.read"])]) -> frozenset[str]:
    assert_type(token.actor.subject if token.actor else None, str | None)
    return assert_type(token.scopes, frozenset[str])


@app.get("/classes")
def classes(token: Annotated[Token | None, Security(auth.optional)]) -> str | None:
    return token.client_id if token is not None else None


@router.get("/audit")
def audit(token: Auditor) -> str:
    return assert_type(token, Token).subject


@app.websocket("/socket")
async def socket(websocket: WebSocket, token: Auditor) -> None:
    await websocket.accept()
