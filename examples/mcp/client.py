"""An assistant: it knows the URL of an MCP server and its own credentials, and finds everything else."""

import asyncio
import json
import logging
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2

from mcp import Client
from mcp.client.auth import OAuthClientProvider, OAuthTokenError, TokenStorage
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken


class Tokens(TokenStorage):
    """In memory. There is no registration to keep: the Secret of the OAuthClient has the credentials."""

    latest: OAuthToken | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.latest

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.latest = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return None

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        raise RuntimeError("the client is registered by its OAuthClient, and not by this program")


def credentials(url: str, secret: Path, tokens: TokenStorage) -> OAuthClientProvider:
    """`issuer` is the only one that gets the client secret, whatever the MCP server says."""
    client_id, client_secret, issuer = (
        (secret / name).read_text().strip() for name in ("client_id", "client_secret", "issuer")
    )
    return ClientCredentialsOAuthProvider(url, tokens, client_id, client_secret, issuer=issuer)


@asynccontextmanager
async def connected(url: str, auth: OAuthClientProvider) -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(auth=auth, timeout=30) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        yield client


async def main(url: str, tool: str = "", arguments: str = "{}") -> None:
    logging.getLogger("mcp").addHandler(logging.NullHandler())  # it logs a refused token with its traceback
    auth = credentials(url, Path(os.environ["SCOPEWRIGHT_SECRET_DIR"]), Tokens())
    try:
        async with connected(url, auth) as client:
            if not tool:
                print(*(each.name for each in (await client.list_tools()).tools))
                return
            answer = await client.call_tool(tool, json.loads(arguments))
            print(*(part.text for part in answer.content if part.type == "text"), sep="\n")
    except* OAuthTokenError as refused:
        print("the issuer refuses a token:", refused.exceptions[0])


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
