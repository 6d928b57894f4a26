"""The API on Django, in WSGI. It trusts the gateway: it checks nothing itself."""

from collections.abc import Callable
from typing import Any

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse
from django.urls import path

from tests.gateway.services.recording import record, wsgi_headers
from tests.gateway.services.routes import ROUTES, UNROUTED
from tests.gateway.services.wsgi import HeadWithoutBody


class Recorded:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        answer = self._get_response(request)
        match = request.resolver_match
        route = match.url_name if match else UNROUTED
        record(request.method, request.path_info, route, wsgi_headers(request.META))
        return answer


def _answer(request: HttpRequest, **_: Any) -> HttpResponse:
    _ = request.body
    return HttpResponse("done")


settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="of a test",
    MIDDLEWARE=[f"{__name__}.Recorded", "django.middleware.common.CommonMiddleware"],
)
django.setup()
urlpatterns = [
    path(pattern.removeprefix("/").replace("<rest>", "<path:rest>").replace("<id>", "<str:id>"), _answer, name=name)
    for pattern, name in ROUTES
]
app = HeadWithoutBody(WSGIHandler())
