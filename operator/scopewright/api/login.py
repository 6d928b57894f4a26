"""`spec.login` of an OAuthClient: where users return to, who may log in, and for how long they stay logged in."""

from datetime import timedelta
from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints

from scopewright.api.meta import Model
from scopewright.api.names import GroupNames, Label
from scopewright.api.redirect_uris import MAX_REDIRECT_URIS, MAX_URI_LENGTH, URI_CHARACTERS, redirect_rules
from scopewright.api.rules import CelRule, no_days_rule, unless_days
from scopewright.api.times import Duration

ID_TOKENS: Final = "id-tokens"
"""Name of the SigningKey of ID tokens, unless an OAuthClient names another."""

_SET: Final = {"x-kubernetes-list-type": "set"}
RedirectURI = Annotated[str, StringConstraints(pattern=URI_CHARACTERS, max_length=MAX_URI_LENGTH)]


class RefreshTokens(Model):
    """Lifetime of refresh tokens."""

    RULES = (
        CelRule(
            "refresh-idle-timeout-at-least-a-minute",
            unless_days("idleTimeout") + "duration(self.idleTimeout) >= duration('1m')",
            "refreshTokens.idleTimeout must be at least 1m: an application refreshes once its access token ends; "
            "raise it, 8h is usual",
            "idleTimeout",
        ),
        CelRule(
            "refresh-idle-timeout-within-max-lifetime",
            unless_days("idleTimeout", "maxLifetime") + "duration(self.idleTimeout) <= duration(self.maxLifetime)",
            "refreshTokens.idleTimeout must be at most refreshTokens.maxLifetime; lower idleTimeout or raise "
            "maxLifetime",
            "idleTimeout",
        ),
        CelRule(
            "refresh-max-lifetime-at-most-a-year",
            unless_days("maxLifetime") + "duration(self.maxLifetime) <= duration('8760h')",
            "refreshTokens.maxLifetime must be at most 8760h; lower it, so that users log in again once a year",
            "maxLifetime",
        ),
        no_days_rule("refresh-token", "idleTimeout"),
        no_days_rule("refresh-token", "maxLifetime"),
    )

    idle_timeout: Duration = timedelta(hours=8)
    """Time without a refresh after which a refresh token ends. Defaults to 8h."""
    max_lifetime: Duration = timedelta(hours=12)
    """Time after the login at which a refresh token ends. Without the scope offline_access, it ends with the session of
    the user at the latest. Defaults to 12h."""


class ClientLogin(Model):
    """Login of users through the client (OpenID Connect, authorization code with PKCE)."""

    RULES = (*redirect_rules("redirectURIs"), *redirect_rules("postLogoutRedirectURIs"))

    redirect_uris: Annotated[
        list[RedirectURI], Field(min_length=1, max_length=MAX_REDIRECT_URIS, json_schema_extra=_SET)
    ] = Field(alias="redirectURIs")
    """URIs to which users return after a login, compared exactly. The platform's configuration allows the hosts of each
    namespace. With method None: also private-use schemes of native apps, and http on loopback with any port."""
    post_logout_redirect_uris: Annotated[
        list[RedirectURI], Field(max_length=MAX_REDIRECT_URIS, json_schema_extra=_SET)
    ] = Field(default_factory=list, alias="postLogoutRedirectURIs")
    """URIs to which users may return after a logout, by the same rules. Defaults to none: a page says that the user is
    logged out."""
    identity_providers: Annotated[list[Label], Field(min_length=1, max_length=16, json_schema_extra=_SET)] | None = None
    """Names of the identity providers whose users may log in. Defaults to the only identity provider; required if there
    are several."""
    allowed_groups: Annotated[GroupNames, Field(min_length=1)] | None = None
    """Groups whose members may log in: one of them suffices. Defaults to all users of the identity providers."""
    consent: Literal["Required", "Skip"] = "Required"
    """Whether users are asked for their consent. Skip: the organisation has consented for them, which the platform's
    configuration must allow; not with method None. Defaults to Required."""
    require_pushed_authorization_requests: bool = False
    """Whether authorization requests must be pushed (RFC 9126); with profile FAPI2 always. Defaults to false."""
    pkce: Literal["Required", "Optional"] = "Required"
    """Whether authorization requests must have a code challenge (RFC 7636). Optional is for applications that cannot
    send one, not with method None nor with profile FAPI2. Defaults to Required."""
    refresh_tokens: RefreshTokens = RefreshTokens()
    """Lifetime of refresh tokens, which need the grant type refresh_token. Defaults to 8h without use, 12h in all."""
    id_token_signing_key: Label = ID_TOKENS
    """Name of the SigningKey, in the issuer's namespace, that signs ID tokens. Defaults to "id-tokens"."""
