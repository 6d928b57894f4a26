// An application that logs users in with oauth4webapi, which leaves every step of the protocol to the program.
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import * as oauth from "oauth4webapi";

const home = process.env.HOME_URL; // such as http://127.0.0.1:3000
const redirect_uri = `${home}/callback`;
const secret = (name) => readFileSync(`${process.env.SCOPEWRIGHT_SECRET_DIR}/${name}`, "utf8").trim();
const issuer = new URL(secret("issuer"));
const pushes = process.env.PUSH === "true"; // the request goes to the issuer, and the browser has a reference to it
const options = { [oauth.allowInsecureRequests]: issuer.hostname === "127.0.0.1" }; // scopewright dev

const discovered = await oauth.discoveryRequest(issuer, options);
const server = await oauth.processDiscoveryResponse(issuer, discovered);
const client = { client_id: secret("client_id") };
const authentication = () => oauth.ClientSecretBasic(secret("client_secret")); // read for each request: it rotates

const sessions = new Map(); // cookie → the login, or the user that has logged in

async function login() {
  const checks = {
    verifier: oauth.generateRandomCodeVerifier(),
    state: oauth.generateRandomState(),
    nonce: oauth.generateRandomNonce(),
  };
  const url = new URL(server.authorization_endpoint);
  const parameters = new URLSearchParams({
    client_id: client.client_id,
    redirect_uri,
    response_type: "code",
    scope: "openid profile email groups",
    code_challenge: await oauth.calculatePKCECodeChallenge(checks.verifier),
    code_challenge_method: "S256",
    state: checks.state,
    nonce: checks.nonce,
  });
  url.search = pushes ? await pushed(parameters) : parameters;
  return { url, session: { checks } };
}

async function pushed(parameters) {
  const response = await oauth.pushedAuthorizationRequest(server, client, authentication(), parameters, options);
  const { request_uri } = await oauth.processPushedAuthorizationResponse(server, client, response);
  return new URLSearchParams({ client_id: client.client_id, request_uri });
}

async function callback(url, { checks }) {
  const parameters = oauth.validateAuthResponse(server, client, url, checks.state);
  const response = await oauth.authorizationCodeGrantRequest(
    server, client, authentication(), parameters, redirect_uri, checks.verifier, options);
  const expected = { expectedNonce: checks.nonce, requireIdToken: true };
  const tokens = await oauth.processAuthorizationCodeResponse(server, client, response, expected);
  await oauth.validateApplicationLevelSignature(server, response, options);
  return { url: home, session: { tokens, user: oauth.getValidatedIdTokenClaims(tokens) } };
}

async function refresh({ tokens, user }) {
  const response = await oauth.refreshTokenGrantRequest(
    server, client, authentication(), tokens.refresh_token, options);
  const refreshed = await oauth.processRefreshTokenResponse(server, client, response);
  const claims = oauth.getValidatedIdTokenClaims(refreshed) ?? user;
  return { url: home, session: { tokens: { ...tokens, ...refreshed }, user: claims } };
}

function logout({ tokens }) {
  const url = new URL(server.end_session_endpoint);
  url.search = new URLSearchParams({ id_token_hint: tokens.id_token, post_logout_redirect_uri: home });
  return { url, session: undefined };
}

async function profile({ tokens, user }) {
  const response = await oauth.userInfoRequest(server, client, tokens.access_token, options);
  return { user, userinfo: await oauth.processUserInfoResponse(server, client, user.sub, response) };
}

async function answer(url, session) {
  if (url.pathname === "/login") return login();
  if (url.pathname === "/callback" && session?.checks) return callback(url, session);
  if (!session?.user) return { status: 401, body: { login: `${home}/login` } };
  if (url.pathname === "/refresh") return refresh(session);
  if (url.pathname === "/logout") return logout(session);
  return { body: await profile(session) };
}

createServer(async (request, response) => {
  const cookie = /(?:^|; )session=([\w-]+)/.exec(request.headers.cookie)?.[1];
  try {
    const { url, status, body, ...changed } = await answer(new URL(request.url, home), sessions.get(cookie));
    if ("session" in changed) {
      sessions.delete(cookie);
      const name = randomBytes(32).toString("base64url");
      if (changed.session) sessions.set(name, changed.session);
      response.setHeader("set-cookie", `session=${name}; Path=/; HttpOnly; SameSite=Lax`);
    }
    if (url) response.writeHead(302, { location: `${url}` }).end();
    else response.writeHead(status ?? 200, { "content-type": "application/json" }).end(JSON.stringify(body));
  } catch (error) {
    console.error(error);
    response.writeHead(502).end("The login failed; the log has the reason.");
  }
}).listen(new URL(home).port, "127.0.0.1");
