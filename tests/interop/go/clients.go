package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

const (
	exchangeGrant   = "urn:ietf:params:oauth:grant-type:token-exchange"
	accessTokenType = "urn:ietf:params:oauth:token-type:access_token"
	assertionType   = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
)

func config(ctx context.Context, given job, who client, style oauth2.AuthStyle) (*clientcredentials.Config, error) {
	provider, err := oidc.NewProvider(ctx, given.Issuer)
	if err != nil {
		return nil, err
	}
	return &clientcredentials.Config{
		ClientID:       who.ID,
		ClientSecret:   who.Secret,
		TokenURL:       provider.Endpoint().TokenURL,
		AuthStyle:      style,
		EndpointParams: url.Values{"resource": {given.Audience}},
	}, nil
}

func token(ctx context.Context, config *clientcredentials.Config) (output, error) {
	given, err := config.Token(ctx)
	if err != nil {
		return nil, err
	}
	return output{
		"access_token":      given.AccessToken,
		"token_type":        given.TokenType,
		"expires_in":        given.Extra("expires_in"),
		"scope":             given.Extra("scope"),
		"issued_token_type": given.Extra("issued_token_type"),
	}, nil
}

// By header as asked, and as x/oauth2 finds out by itself, which is what most programs leave it to.
func basic(ctx context.Context, given job) (output, error) {
	found, err := config(ctx, given, given.Clients["worker"], oauth2.AuthStyleAutoDetect)
	if err != nil {
		return nil, err
	}
	if _, err := token(ctx, found); err != nil {
		return nil, fmt.Errorf("by detection: %w", err)
	}
	asking, err := config(ctx, given, given.Clients["worker"], oauth2.AuthStyleInHeader)
	if err != nil {
		return nil, err
	}
	return token(ctx, asking)
}

func post(ctx context.Context, given job) (output, error) {
	asking, err := config(ctx, given, given.Clients["worker"], oauth2.AuthStyleInParams)
	if err != nil {
		return nil, err
	}
	return token(ctx, asking)
}

func privateKeyJWT(ctx context.Context, given job) (output, error) {
	who := given.Clients["assertion"]
	options := (&jose.SignerOptions{}).WithType("JWT")
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: who.JWK}, options)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	assertion, err := jwt.Signed(signer).Claims(jwt.Claims{
		Issuer:   who.ID,
		Subject:  who.ID,
		Audience: jwt.Audience{given.Issuer},
		IssuedAt: jwt.NewNumericDate(now),
		Expiry:   jwt.NewNumericDate(now.Add(time.Minute)),
		ID:       fmt.Sprint(now.UnixNano()),
	}).Serialize()
	if err != nil {
		return nil, err
	}
	asking, err := config(ctx, given, client{ID: who.ID}, oauth2.AuthStyleInParams)
	if err != nil {
		return nil, err
	}
	asking.EndpointParams.Set("client_assertion_type", assertionType)
	asking.EndpointParams.Set("client_assertion", assertion)
	return token(ctx, asking)
}

func tokenExchange(ctx context.Context, given job) (output, error) {
	subject, err := basic(ctx, given)
	if err != nil {
		return nil, err
	}
	asking, err := config(ctx, given, given.Clients["server"], oauth2.AuthStyleInHeader)
	if err != nil {
		return nil, err
	}
	asking.EndpointParams = url.Values{
		"grant_type":         {exchangeGrant},
		"subject_token":      {subject["access_token"].(string)},
		"subject_token_type": {accessTokenType},
		"resource":           {given.Target},
	}
	return token(ctx, asking)
}

func refusals(ctx context.Context, given job) (output, error) {
	wrong := client{ID: given.Clients["worker"].ID, Secret: "wrong"}
	found := output{}
	for name, style := range map[string]oauth2.AuthStyle{
		"basic": oauth2.AuthStyleInHeader,
		"post":  oauth2.AuthStyleInParams,
	} {
		asking, err := config(ctx, given, wrong, style)
		if err != nil {
			return nil, err
		}
		if found[name], err = refused(ctx, asking); err != nil {
			return nil, err
		}
	}
	asking, err := config(ctx, given, given.Clients["worker"], oauth2.AuthStyleInHeader)
	if err != nil {
		return nil, err
	}
	asking.Scopes = []string{"payroll.destroy"}
	found["scope"], err = refused(ctx, asking)
	return found, err
}

func refused(ctx context.Context, asking *clientcredentials.Config) (output, error) {
	_, err := asking.Token(ctx)
	var refusal *oauth2.RetrieveError
	if !errors.As(err, &refusal) {
		return nil, fmt.Errorf("not refused, but %v", err)
	}
	return output{"status": refusal.Response.StatusCode, "error": refusal.ErrorCode}, nil
}

func openidDiscovery(ctx context.Context, given job) (output, error) {
	provider, err := oidc.NewProvider(ctx, given.Issuer)
	if err != nil {
		return nil, err
	}
	found := output{}
	return found, provider.Claims(&found)
}

// Every token's signature, issuer, expiry and audience, once as the provider is discovered and once with the JWKS alone.
// That it is an access token (typ) go-oidc does not look at.
func accessToken(ctx context.Context, given job) (output, error) {
	provider, err := oidc.NewProvider(ctx, given.Issuer)
	if err != nil {
		return nil, err
	}
	metadata := struct {
		JWKS string `json:"jwks_uri"`
	}{}
	if err := provider.Claims(&metadata); err != nil {
		return nil, err
	}
	keys := oidc.NewRemoteKeySet(ctx, metadata.JWKS)
	found := output{}
	for algorithm, audience := range given.Algorithms {
		only := &oidc.Config{SkipClientIDCheck: true, SupportedSigningAlgs: []string{algorithm}}
		if _, err := oidc.NewVerifier(given.Issuer, keys, only).Verify(ctx, given.Tokens[algorithm]); err != nil {
			return nil, fmt.Errorf("%s, by the JWKS: %w", algorithm, err)
		}
		verified, err := provider.Verifier(&oidc.Config{SkipClientIDCheck: true}).Verify(ctx, given.Tokens[algorithm])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", algorithm, err)
		}
		if len(verified.Audience) != 1 || verified.Audience[0] != audience {
			return nil, fmt.Errorf("%s: the audience is %v", algorithm, verified.Audience)
		}
		claims := output{}
		if err := verified.Claims(&claims); err != nil {
			return nil, err
		}
		found[algorithm] = claims
	}
	return found, nil
}
