"""Programs of users, one for each HTTP library. mypy checks them; nothing runs them."""

from typing import assert_type

import aiohttp
import grpc
import grpc.aio
import httpx
import requests
import urllib3
from aiohttp import ClientMiddlewareType
from requests.auth import AuthBase

from scopewright.client import AccessToken, ClientCredentials, TokenError
from scopewright.client.aiohttp import token_middleware
from scopewright.client.grpc import aio_insecure_channel, call_credentials, insecure_channel
from scopewright.client.requests import RequestsAuth
from scopewright.client.urllib3 import TokenPoolManager

URL = "https://payroll-api.payroll.svc/salaries"
credentials = ClientCredentials(resource="https://payroll-api.payroll.svc", scope=["payroll.read"])


def with_httpx() -> int:
    auth: httpx.Auth = credentials.for_resource("https://leave-api.leave.svc")
    with httpx.Client(auth=auth) as client:
        return client.get(URL).status_code


async def with_httpx_async() -> int:
    async with httpx.AsyncClient(auth=credentials) as client:
        return (await client.get(URL, auth=credentials.on_behalf_of("token"))).status_code


def with_requests() -> str:
    auth: AuthBase = RequestsAuth(credentials)
    with requests.Session() as session:
        session.auth = auth
        try:
            return session.get(URL, timeout=10).text
        except TokenError as error:
            return assert_type(error.description, str)


async def with_aiohttp() -> str:
    middleware = assert_type(token_middleware(credentials), ClientMiddlewareType)
    async with aiohttp.ClientSession(middlewares=[middleware]) as session, session.get(URL) as response:
        return await response.text()


def with_urllib3() -> bytes:
    pools: urllib3.PoolManager = TokenPoolManager(credentials, maxsize=10, retries=urllib3.Retry(3))
    response = assert_type(pools.request("GET", URL), urllib3.BaseHTTPResponse)
    return response.data


def with_grpc() -> None:
    channel = grpc.composite_channel_credentials(
        grpc.ssl_channel_credentials(), assert_type(call_credentials(credentials), grpc.CallCredentials)
    )
    grpc.secure_channel("payroll.payroll.svc:443", channel).close()
    with assert_type(insecure_channel("127.0.0.1:8000", credentials), grpc.Channel):
        pass


async def with_grpc_aio() -> None:
    async with assert_type(aio_insecure_channel("127.0.0.1:8000", credentials, [("grpc.x", 1)]), grpc.aio.Channel):
        pass


async def without_a_library() -> dict[str, str]:
    token = assert_type(await credentials.token(), AccessToken)
    return {"Authorization": f"Bearer {token.value}"}
