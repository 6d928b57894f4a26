// Drives oauth.go of docs/call/go.md: a command on each line of standard input, an answer on one line of output.
package main

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"strings"
)

type answer struct {
	Token  string `json:"token,omitempty"`
	Status int    `json:"status,omitempty"`
	Body   string `json:"body,omitempty"`
	Error  string `json:"error,omitempty"`
}

func main() {
	secret := MountedSecret{os.Args[1], os.Args[2]}
	client := secret.Client()
	output := json.NewEncoder(os.Stdout)
	for input := bufio.NewScanner(os.Stdin); input.Scan(); {
		var found answer
		command, url, _ := strings.Cut(input.Text(), " ")
		if command == "new" {
			if token, err := secret.Token(); err != nil {
				found.Error = err.Error()
			} else {
				found.Token = token.AccessToken
			}
		} else if response, err := client.Get(url); err != nil {
			found.Error = err.Error()
		} else {
			body, _ := io.ReadAll(response.Body)
			response.Body.Close()
			found = answer{Status: response.StatusCode, Body: string(body)}
		}
		output.Encode(found)
	}
}
