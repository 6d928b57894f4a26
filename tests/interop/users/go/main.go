// An application that logs users in with go-oidc and x/oauth2. It keeps everything on the server and gives the browser a
// cookie.
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// session is a login that has begun, or the user that has logged in.
type session struct {
	state, nonce, verifier string
	user                   map[string]any
	idToken                string
	token                  *oauth2.Token
}

type application struct {
	home       string // such as http://127.0.0.1:3000
	provider   *oidc.Provider
	endSession string
	pushed     string // where requests are pushed to

	mutex    sync.Mutex
	sessions map[string]session // by cookie
}

func main() {
	provider, err := oidc.NewProvider(context.Background(), secret("issuer"))
	if err != nil {
		log.Fatal(err)
	}
	var metadata struct {
		EndSession string `json:"end_session_endpoint"`
		Pushed     string `json:"pushed_authorization_request_endpoint"`
	}
	if err := provider.Claims(&metadata); err != nil {
		log.Fatal(err)
	}
	home := os.Getenv("HOME_URL")
	app := &application{home: home, provider: provider, endSession: metadata.EndSession, pushed: metadata.Pushed}
	app.sessions = map[string]session{}
	http.HandleFunc("GET /login", app.login)
	http.HandleFunc("GET /callback", app.callback)
	http.HandleFunc("GET /refresh", app.refresh)
	http.HandleFunc("GET /logout", app.logout)
	http.HandleFunc("GET /{$}", app.profile)
	log.Fatal(http.ListenAndServe(strings.TrimPrefix(home, "http://"), nil))
}

// secret reads a file of the client's Secret; the client secret is read for each request, because it rotates.
func secret(name string) string {
	content, err := os.ReadFile(filepath.Join(os.Getenv("SCOPEWRIGHT_SECRET_DIR"), name))
	if err != nil {
		log.Fatal(err)
	}
	return strings.TrimSpace(string(content))
}

func (a *application) config() *oauth2.Config {
	endpoint := a.provider.Endpoint()
	endpoint.AuthStyle = oauth2.AuthStyleInHeader
	return &oauth2.Config{
		ClientID:     secret("client_id"),
		ClientSecret: secret("client_secret"),
		Endpoint:     endpoint,
		RedirectURL:  a.home + "/callback",
		Scopes:       []string{oidc.ScopeOpenID, "profile", "email", "groups"},
	}
}

func (a *application) login(w http.ResponseWriter, r *http.Request) {
	s := session{state: rand.Text(), nonce: rand.Text(), verifier: oauth2.GenerateVerifier()}
	a.keep(w, r, &s)
	location := a.config().AuthCodeURL(s.state, oidc.Nonce(s.nonce), oauth2.S256ChallengeOption(s.verifier))
	if os.Getenv("PUSH") == "true" {
		var err error
		if location, err = a.push(r.Context(), location); err != nil {
			a.fail(w, err)
			return
		}
	}
	http.Redirect(w, r, location, http.StatusFound)
}

// push sends the request to the issuer (RFC 9126), and returns the URL with the reference to it: x/oauth2 has no function
// for that.
func (a *application) push(ctx context.Context, location string) (string, error) {
	target, query, _ := strings.Cut(location, "?")
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, a.pushed, strings.NewReader(query))
	if err != nil {
		return "", err
	}
	id := secret("client_id")
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret("client_secret")))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusCreated {
		return "", errors.New("the request was not accepted: " + response.Status)
	}
	var pushed struct {
		RequestURI string `json:"request_uri"`
	}
	if err := json.NewDecoder(response.Body).Decode(&pushed); err != nil {
		return "", err
	}
	return target + "?" + url.Values{"client_id": {id}, "request_uri": {pushed.RequestURI}}.Encode(), nil
}

func (a *application) callback(w http.ResponseWriter, r *http.Request) {
	s, query := a.of(r), r.URL.Query()
	if s.state == "" || query.Get("state") != s.state {
		a.fail(w, errors.New("the response belongs to no login of this browser"))
		return
	}
	if code := query.Get("error"); code != "" {
		a.fail(w, errors.New(code+": "+query.Get("error_description")))
		return
	}
	token, err := a.config().Exchange(r.Context(), query.Get("code"), oauth2.VerifierOption(s.verifier))
	if err != nil {
		a.fail(w, err)
		return
	}
	logged, err := a.verified(r.Context(), token, s.nonce)
	if err != nil {
		a.fail(w, err)
		return
	}
	a.keep(w, r, logged)
	http.Redirect(w, r, a.home+"/", http.StatusFound)
}

// verified checks the ID token of a token response.
func (a *application) verified(ctx context.Context, token *oauth2.Token, nonce string) (*session, error) {
	raw, _ := token.Extra("id_token").(string)
	idToken, err := a.provider.Verifier(&oidc.Config{ClientID: secret("client_id")}).Verify(ctx, raw)
	if err != nil {
		return nil, err
	}
	if idToken.Nonce != nonce {
		return nil, errors.New("the ID token belongs to another login")
	}
	if idToken.AccessTokenHash != "" {
		if err := idToken.VerifyAccessToken(token.AccessToken); err != nil {
			return nil, err
		}
	}
	s := session{idToken: raw, token: token}
	return &s, idToken.Claims(&s.user)
}

// refresh requests new tokens; x/oauth2 does so by itself when a token has ended.
func (a *application) refresh(w http.ResponseWriter, r *http.Request) {
	s := a.of(r)
	if s.token == nil {
		http.Error(w, "log in first", http.StatusUnauthorized)
		return
	}
	token, err := a.config().TokenSource(r.Context(), &oauth2.Token{RefreshToken: s.token.RefreshToken}).Token()
	if err != nil {
		a.fail(w, err)
		return
	}
	s.token = token
	a.keep(w, r, &s)
	http.Redirect(w, r, a.home+"/", http.StatusFound)
}

func (a *application) logout(w http.ResponseWriter, r *http.Request) {
	s := a.of(r)
	a.keep(w, r, nil)
	query := url.Values{"id_token_hint": {s.idToken}, "post_logout_redirect_uri": {a.home}}
	http.Redirect(w, r, a.endSession+"?"+query.Encode(), http.StatusFound)
}

func (a *application) profile(w http.ResponseWriter, r *http.Request) {
	s := a.of(r)
	if s.token == nil {
		http.Error(w, `{"login": "`+a.home+`/login"}`, http.StatusUnauthorized)
		return
	}
	userinfo, err := a.provider.UserInfo(r.Context(), oauth2.StaticTokenSource(s.token))
	if err != nil {
		a.fail(w, err)
		return
	}
	claims := map[string]any{}
	if err := userinfo.Claims(&claims); err != nil {
		a.fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"user": s.user, "userinfo": claims})
}

func (a *application) of(r *http.Request) session {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	cookie, err := r.Cookie("session")
	if err != nil {
		return session{}
	}
	return a.sessions[cookie.Value]
}

// keep replaces the session of the browser, under a new cookie.
func (a *application) keep(w http.ResponseWriter, r *http.Request, s *session) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if cookie, err := r.Cookie("session"); err == nil {
		delete(a.sessions, cookie.Value)
	}
	name := rand.Text()
	if s != nil {
		a.sessions[name] = *s
	}
	http.SetCookie(w, &http.Cookie{Name: "session", Value: name, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
}

func (a *application) fail(w http.ResponseWriter, err error) {
	log.Print(err)
	http.Error(w, "The login failed; the log has the reason.", http.StatusBadGateway)
}
