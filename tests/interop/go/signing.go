package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"

	"github.com/go-jose/go-jose/v4"
)

type signing struct {
	Keys []struct {
		Name string                  `json:"name"`
		Kid  string                  `json:"kid"`
		Alg  jose.SignatureAlgorithm `json:"alg"`
	} `json:"keys"`
	Tokens []struct {
		Name    string         `json:"name"`
		Key     string         `json:"key"`
		Header  map[string]any `json:"header"`
		Payload string         `json:"payload"`
	} `json:"tokens"`
}

// Keys made and exported by go-jose; a payload is signed as the text that it is, good JSON or not.
func sign(given signing) (output, error) {
	made := map[string]any{}
	published := jose.JSONWebKeySet{}
	for _, each := range given.Keys {
		key, err := generate(each.Alg)
		if err != nil {
			return nil, err
		}
		made[each.Name] = key
		if signer, ok := key.(crypto.Signer); ok && each.Kid != "" {
			public := jose.JSONWebKey{Key: signer.Public(), KeyID: each.Kid, Algorithm: string(each.Alg), Use: "sig"}
			published.Keys = append(published.Keys, public)
		}
	}
	tokens := output{}
	for _, each := range given.Tokens {
		value, err := compact(made[each.Key], each.Header, each.Payload)
		if err != nil {
			tokens[each.Name] = output{"error": err.Error()}
			continue
		}
		tokens[each.Name] = output{"token": value}
	}
	return output{"jwks": published, "tokens": tokens}, nil
}

func generate(algorithm jose.SignatureAlgorithm) (any, error) {
	switch algorithm {
	case jose.ES256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case jose.ES384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case jose.RS256, jose.PS256:
		return rsa.GenerateKey(rand.Reader, 2048)
	case jose.EdDSA:
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	case jose.HS256:
		secret := make([]byte, 32)
		_, err := rand.Read(secret)
		return secret, err
	}
	return nil, fmt.Errorf("no keys for %s here", algorithm)
}

func compact(key any, header map[string]any, payload string) (string, error) {
	options := &jose.SignerOptions{}
	for name, value := range header {
		if name != "alg" {
			options.WithHeader(jose.HeaderKey(name), value)
		}
	}
	algorithm := jose.SignatureAlgorithm(header["alg"].(string))
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, options)
	if err != nil {
		return "", err
	}
	signed, err := signer.Sign([]byte(payload))
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}
