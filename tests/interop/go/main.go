// One process for the Go libraries: a job as JSON on standard input, the results as JSON on standard output.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/go-jose/go-jose/v4"
)

type client struct {
	ID     string           `json:"id"`
	Secret string           `json:"secret"`
	JWK    *jose.JSONWebKey `json:"jwk"`
}

type job struct {
	Issuer     string            `json:"issuer"`
	Audience   string            `json:"audience"`
	Target     string            `json:"target"`
	Algorithms map[string]string `json:"algorithms"`
	Tokens     map[string]string `json:"tokens"`
	Clients    map[string]client `json:"clients"`
	Tasks      []task            `json:"tasks"`
	Sign       *signing          `json:"sign"`
}

type task struct {
	Library    string `json:"library"`
	Capability string `json:"capability"`
}

type result struct {
	task
	Output any    `json:"output,omitempty"`
	Error  string `json:"error,omitempty"`
}

type output map[string]any

type capability func(context.Context, job) (output, error)

var libraries = map[string]map[string]capability{
	"x-oauth2": {
		"client_secret_basic": basic,
		"client_secret_post":  post,
		"private_key_jwt":     privateKeyJWT,
		"refusals":            refusals,
		"token_exchange":      tokenExchange,
	},
	"go-oidc": {
		"openid_discovery": openidDiscovery,
		"access_token":     accessToken,
	},
}

func main() {
	var given job
	if err := json.NewDecoder(os.Stdin).Decode(&given); err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		os.Exit(1)
	}
	answer := map[string]any{}
	results := []result{}
	for _, each := range given.Tasks {
		does, err := libraries[each.Library][each.Capability](context.Background(), given)
		one := result{task: each, Output: does}
		if err != nil {
			one = result{task: each, Error: err.Error()}
		}
		results = append(results, one)
	}
	answer["results"] = results
	if given.Sign != nil {
		signed, err := sign(*given.Sign)
		if err != nil {
			fmt.Fprintln(os.Stderr, "interop:", err)
			os.Exit(1)
		}
		answer["signed"] = signed
	}
	if err := json.NewEncoder(os.Stdout).Encode(answer); err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		os.Exit(1)
	}
}
