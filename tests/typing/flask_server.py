"""A service with Flask, as `mypy --strict` sees it."""

from typing import assert_type

from flask import Blueprint, Flask, Response
from flask.views import MethodView

from scopewright.verifier import AnyIssuer, Token, Verifier
from scopewright.verifier.flask import TokenAuth, current_token, require

auth = TokenAuth(
    AnyIssuer(Verifier("https://issuer.example", "https://payroll.example")),
    public=("/healthz",),
    optional=["/classes"],
    base_url=lambda environ: f"https://{environ['HTTP_HOST']}",
)
reports = Blueprint("reports", __name__)


@reports.get("/salaries/<int:number>")
@auth.require("payroll.read")
def salaries(number: int) -> dict[str, str]:
    token = assert_type(current_token(), Token | None)
    return {"caller": token.client_id if token else "anonymous"}


@reports.post("/salaries/<int:number>")
@auth.require(any_of=["payroll.write", "payroll.approve"], roles="owner")
async def change(number: int) -> Response:
    assert_type(require("payroll.write", roles=("owner",)), Token)
    return Response(status=204)


class Audit(MethodView):
    init_every_request = False

    @auth.require("payroll.audit")
    def get(self, number: int) -> str:
        return str(number)


assert_type(salaries(7), dict[str, str])


def create_app() -> Flask:
    app = Flask(__name__)
    auth.init_app(app)
    auth.init_app(reports)
    app.register_blueprint(reports)
    app.add_url_rule("/audit/<int:number>", view_func=Audit.as_view("audit"))
    return app
