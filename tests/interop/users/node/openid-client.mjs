// An application that logs users in with openid-client. It keeps everything on the server and gives the browser a cookie.
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import * as client from "openid-client";

const home = process.env.HOME_URL; // such as http://127.0.0.1:3000
const redirect_uri = `${home}/callback`;
const secret = (name) => readFileSync(`${process.env.SCOPEWRIGHT_SECRET_DIR}/${name}`, "utf8").trim();
const issuer = new URL(secret("issuer"));
const pushes = process.env.PUSH === "true"; // the request goes to the issuer, and the browser has a reference to it

const config = await client.discovery(
  issuer,
  secret("client_id"),
  {},
  (...request) => client.ClientSecretBasic(secret("client_secret"))(...request), // read for each request: it rotates
  { execute: issuer.hostname === "127.0.0.1" ? [client.allowInsecureRequests] : [] }, // scopewright dev
);
client.enableNonRepudiationChecks(config); // checks the signature of ID tokens, too

const sessions = new Map(); // cookie → the login, or the user that has logged in

async function login() {
  const pkceCodeVerifier = client.randomPKCECodeVerifier();
  const checks = { pkceCodeVerifier, expectedState: client.randomState(), expectedNonce: client.randomNonce() };
  const build = pushes ? client.buildAuthorizationUrlWithPAR : client.buildAuthorizationUrl;
  const url = await build(config, {
    redirect_uri,
    scope: "openid profile email groups",
    code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: "S256",
    state: checks.expectedState,
    nonce: checks.expectedNonce,
  });
  return { url, session: { checks } };
}

async function callback(url, { checks }) {
  const tokens = await client.authorizationCodeGrant(config, url, { ...checks, idTokenExpected: true });
  return { url: home, session: { tokens, user: tokens.claims() } };
}

async function refresh({ tokens, user }) {
  const refreshed = await client.refreshTokenGrant(config, tokens.refresh_token);
  return { url: home, session: { tokens: { ...tokens, ...refreshed }, user: refreshed.claims() ?? user } };
}

function logout({ tokens }) {
  const parameters = { id_token_hint: tokens.id_token, post_logout_redirect_uri: home };
  return { url: client.buildEndSessionUrl(config, parameters), session: undefined };
}

async function profile({ tokens, user }) {
  return { user, userinfo: await client.fetchUserInfo(config, tokens.access_token, user.sub) };
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
