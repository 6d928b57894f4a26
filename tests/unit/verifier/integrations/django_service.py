"""The service of `service.py` with Django, over WSGI with sync views and over ASGI with async ones."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from django.core.asgi import get_asgi_application
from django.core.signals import got_request_exception
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.test import override_settings
from django.urls import re_path

from scopewright.verifier import Verifier
from scopewright.verifier import django as for_django
from tests.unit.verifier.django_settings import configure_django
from tests.unit.verifier.integrations.service import ANY_OF, BASE_URL, OPTIONAL, PUBLIC, ROLES, Record, Service, caller
from tests.unit.verifier.integrations.transports import AsgiService, WsgiService


def django_service(asynchronous: bool) -> Callable[[Verifier], AbstractContextManager[Service]]:
    @contextmanager
    def service(verifier: Verifier) -> Iterator[Service]:
        record = Record()

        def on_error(sender: Any, **_: Any) -> None:
            record.errors.append("signal")

        options = {
            "verifier": verifier,
            "public": PUBLIC,
            "optional": OPTIONAL,
            "base_url": BASE_URL,
            "resource_metadata": True,
        }
        middleware = ["scopewright.verifier.django.TokenMiddleware"]
        configure_django()
        got_request_exception.connect(on_error)
        try:
            with override_settings(
                ROOT_URLCONF=_DjangoUrls(record, asynchronous), SCOPEWRIGHT=options, MIDDLEWARE=middleware
            ):
                if asynchronous:
                    yield AsgiService(get_asgi_application(), record)
                else:
                    yield WsgiService(get_wsgi_application(), record)
        finally:
            got_request_exception.disconnect(on_error)

    return service


class _DjangoUrls:
    """The module of URLs. It is hashable, as Django requires."""

    def __init__(self, record: Record, asynchronous: bool) -> None:
        self._record = record

        @for_django.require("payroll.read")
        def salaries(request: HttpRequest, path: str) -> HttpResponse:
            return self._seen(request)

        @for_django.require("payroll.read")
        async def salaries_async(request: HttpRequest, path: str) -> HttpResponse:
            return self._seen(request)

        self.urlpatterns = [
            re_path("^salaries/(?P<path>.*)$", salaries_async if asynchronous else salaries),
            re_path("^write$", self._write_async if asynchronous else self._write),
            re_path("^audit$", for_django.require(any_of=ANY_OF, roles=ROLES)(self._seen)),
            re_path("^broken$", self._broken),
            re_path("^.*$", self._seen),
        ]

    def _seen(self, request: HttpRequest) -> HttpResponse:
        self._record.seen.append(request.path_info)
        return HttpResponse(caller(for_django.current_token(request)))

    def _write(self, request: HttpRequest) -> HttpResponse:
        for_django.require(request, "payroll.write")
        return self._seen(request)

    async def _write_async(self, request: HttpRequest) -> HttpResponse:
        for_django.require(request, "payroll.write")
        return self._seen(request)

    def _broken(self, request: HttpRequest) -> HttpResponse:
        raise ZeroDivisionError
