"""Questions of the issuer's own client to an OpenID provider on loopback that rotates its refresh tokens."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from scopewright.core.records.identity_provider import ClaimMappings, UpstreamClient
from scopewright.issuer.state.providers import Provider
from scopewright.issuer.upstream.client import OpenIDLogins
from scopewright.issuer.upstream.login import UpstreamRequest
from tests.harness.openid_provider import CLIENT_ID, CLIENT_SECRET, OpenIDProvider
from tests.harness.openid_replies import Reply
from tests.harness.users import provider_of
from tests.unit.issuer.users.checked_sessions import refusal_of, scope_of
from tests.unit.issuer.users.logins import Logins, running_logins

READ = "payroll.read"
BOTH = "payroll.read payroll.write"


@dataclass
class AtProvider:
    upstream: OpenIDProvider
    provider: Provider
    client: OpenIDLogins
    logins: Logins

    def says(self, *groups: str) -> None:
        self.upstream.users["ada"] = {"preferred_username": "ada", "groups": list(groups)}

    async def refresh_token(self) -> str:
        """Of a user who has logged in at the provider."""
        callback = "https://issuer.example/callback/company"
        request = UpstreamRequest(callback, "s" * 43, "n" * 43, "v" * 43, self.upstream.clock())
        sent_to = self.upstream.visit(await self.client.authorization_url(self.provider, request))
        user = await self.client.redeem(self.provider, request, dict(parse_qsl(urlsplit(sent_to).query)))
        _, session = await self.logins.sessions.begin(user)
        redeemed = await self.logins.redeem(await self.logins.code(session))
        assert redeemed.status_code == 200, redeemed.text
        return str(redeemed.json()["refresh_token"])

    async def refresh_when_due(self, *tokens: str) -> list[httpx.Response]:
        self.logins.harness.clock.advance(seconds=self.provider.record.check_interval)
        return await asyncio.gather(*map(self.logins.refresh, tokens))


@pytest.fixture
async def at() -> AsyncIterator[AtProvider]:
    with OpenIDProvider() as upstream:
        provider = provider_of(
            "company",
            oidc=UpstreamClient(upstream.issuer, CLIENT_ID),
            subject_domain=upstream.issuer,
            client_secret=CLIENT_SECRET,
            claims=ClaimMappings(groups=("groups",), groups_allow=("hr-*", "managers")),
        )
        client = OpenIDLogins(allow_loopback=True)
        async with running_logins(upstreams=client, providers=(provider,)) as logins:
            found = AtProvider(upstream, provider, client, logins)
            found.says("hr-staff")
            yield found
        await client.aclose()


async def test_groups_follow_the_provider_and_each_refresh_token_is_sent_once(at: AtProvider) -> None:
    token = await at.refresh_token()
    for groups, scope in ((("hr-staff",), READ), (("managers",), BOTH), (("hr-staff",), READ)):
        at.says(*groups)
        requests = at.upstream.count("token")
        assert {scope_of(response) for response in await at.refresh_when_due(*[token] * 10)} == {scope}
        assert at.upstream.count("token") == requests + 1


async def test_the_session_ends_with_the_grant_at_the_provider(at: AtProvider) -> None:
    token = await at.refresh_token()
    at.upstream.end_grants()
    (response,) = await at.refresh_when_due(token)
    assert refusal_of(response) == (400, "invalid_grant")


async def test_stored_groups_count_while_the_provider_fails_and_its_rotated_token_is_kept(at: AtProvider) -> None:
    """The token endpoint answers, and userinfo does not: the refresh token has been rotated."""
    token = await at.refresh_token()
    at.upstream.claims_in_id_token = False
    at.upstream.replies["userinfo"] = lambda request: Reply(503)
    (response,) = await at.refresh_when_due(token)
    assert scope_of(response) == READ
    del at.upstream.replies["userinfo"]
    at.says("managers")
    (response,) = await at.refresh_when_due(token)
    assert scope_of(response) == BOTH
