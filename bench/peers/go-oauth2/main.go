// The token endpoint of github.com/go-oauth2/oauth2 with the same configuration as the other servers of the benchmark:
// client_credentials with Basic, JWT access tokens signed with ES256 (RFC 9068), clients from a file in memory with
// SHA-256 digests of their secrets. It stores no tokens, as the issuer does not.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/go-oauth2/oauth2/v4"
	"github.com/go-oauth2/oauth2/v4/errors"
	"github.com/go-oauth2/oauth2/v4/manage"
	"github.com/go-oauth2/oauth2/v4/server"
	"github.com/golang-jwt/jwt/v5"
)

type settings struct {
	Port     int
	Issuer   string
	Audience string
	Scope    string
	Lifetime int
	Clients  [][2]string
}

type client struct {
	id     string
	digest [sha256.Size]byte
}

func (c *client) GetID() string     { return c.id }
func (c *client) GetSecret() string { return "" }
func (c *client) GetDomain() string { return "" }
func (c *client) GetUserID() string { return "" }
func (c *client) IsPublic() bool    { return false }

// VerifyPassword is called instead of a comparison with GetSecret.
func (c *client) VerifyPassword(secret string) bool {
	digest := sha256.Sum256([]byte(secret))
	return subtle.ConstantTimeCompare(c.digest[:], digest[:]) == 1
}

type clients map[string]*client

func (c clients) GetByID(_ context.Context, id string) (oauth2.ClientInfo, error) {
	if found, ok := c[id]; ok {
		return found, nil
	}
	return nil, errors.ErrInvalidClient
}

type noTokens struct{ oauth2.TokenStore }

func (noTokens) Create(context.Context, oauth2.TokenInfo) error { return nil }

type claims struct {
	jwt.RegisteredClaims
	ClientID string `json:"client_id"`
	Scope    string `json:"scope"`
}

// The library's own generator lacks issuer, client and scope, and parses the key for each token.
type generator struct {
	settings
	key *ecdsa.PrivateKey
	kid string
}

func (g *generator) Token(_ context.Context, data *oauth2.GenerateBasic, _ bool) (string, string, error) {
	id := data.Client.GetID()
	token := jwt.NewWithClaims(jwt.SigningMethodES256, claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer:    g.Issuer,
			Subject:   id,
			Audience:  jwt.ClaimStrings{g.Audience},
			ID:        rand.Text(),
			IssuedAt:  jwt.NewNumericDate(data.CreateAt),
			ExpiresAt: jwt.NewNumericDate(data.CreateAt.Add(data.TokenInfo.GetAccessExpiresIn())),
		},
		ClientID: id,
		Scope:    data.TokenInfo.GetScope(),
	})
	token.Header["kid"] = g.kid
	token.Header["typ"] = "at+jwt"
	signed, err := token.SignedString(g.key)
	return signed, "", err
}

func main() {
	content, err := os.ReadFile(os.Args[1])
	check(err)
	g := &generator{kid: rand.Text()}
	check(json.Unmarshal(content, &g.settings))
	g.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	known := clients{}
	for _, each := range g.Clients {
		known[each[0]] = &client{each[0], sha256.Sum256([]byte(each[1]))}
	}

	manager := manage.NewManager()
	manager.MapClientStorage(known)
	manager.MapTokenStorage(noTokens{})
	manager.MapAccessGenerate(g)
	manager.SetClientTokenCfg(&manage.Config{AccessTokenExp: time.Duration(g.Lifetime) * time.Second})
	tokens := server.NewDefaultServer(manager)
	tokens.SetClientInfoHandler(server.ClientBasicHandler)
	tokens.SetClientScopeHandler(func(request *oauth2.TokenGenerateRequest) (bool, error) {
		return request.Scope == g.Scope, nil
	})
	http.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		if err := tokens.HandleTokenRequest(w, r); err != nil {
			log.Print(err)
		}
	})
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", g.Port))
	check(err)
	fmt.Println("ready")
	check(http.Serve(listener, nil))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
