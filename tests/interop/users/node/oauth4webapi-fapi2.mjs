// A login by FAPI 2.0 with oauth4webapi: private_key_jwt, a pushed request and DPoP, each nonce of the issuer included.
// It prints the URL for the browser, reads the URL that the browser comes back to, and prints what it got.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline/promises";
import * as oauth from "oauth4webapi";

const secret = (name) => readFileSync(`${process.env.SCOPEWRIGHT_SECRET_DIR}/${name}`, "utf8").trim();
const issuer = new URL(secret("issuer"));
const jwk = JSON.parse(secret("private_key.jwk")); // it rotates: read it again for a login that comes later
const key = await crypto.subtle.importKey("jwk", jwk, { name: "ECDSA", namedCurve: "P-256" }, false, ["sign"]);
const insecure = { [oauth.allowInsecureRequests]: issuer.hostname === "127.0.0.1" }; // scopewright dev
const server = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, insecure));
const client = { client_id: secret("client_id") };
const authentication = oauth.PrivateKeyJwt({ key, kid: jwk.kid });
const options = { ...insecure, DPoP: oauth.DPoP(client, await oauth.generateKeyPair("ES256")) };
const redirect_uri = process.env.REDIRECT_URI;

async function withNonce(request, process) {
  try {
    return await process(await request());
  } catch (error) {
    if (!oauth.isDPoPNonceError(error)) throw error;
    return process(await request());
  }
}

const verifier = oauth.generateRandomCodeVerifier();
const state = oauth.generateRandomState();
const expectedNonce = oauth.generateRandomNonce();
const parameters = new URLSearchParams({
  client_id: client.client_id,
  redirect_uri,
  response_type: "code",
  scope: "openid profile",
  code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
  code_challenge_method: "S256",
  state,
  nonce: expectedNonce,
});
const { request_uri } = await withNonce(
  () => oauth.pushedAuthorizationRequest(server, client, authentication, parameters, options),
  (response) => oauth.processPushedAuthorizationResponse(server, client, response),
);
const url = new URL(server.authorization_endpoint);
url.search = new URLSearchParams({ client_id: client.client_id, request_uri });
console.log(url.href);

const back = new URL(await createInterface({ input: process.stdin }).question(""));
const answer = oauth.validateAuthResponse(server, client, back, state);
let signed;
const tokens = await withNonce(
  () => oauth.authorizationCodeGrantRequest(server, client, authentication, answer, redirect_uri, verifier, options),
  (response) => {
    signed = response;
    return oauth.processAuthorizationCodeResponse(server, client, response, { expectedNonce, requireIdToken: true });
  },
);
await oauth.validateApplicationLevelSignature(server, signed, insecure);
const user = oauth.getValidatedIdTokenClaims(tokens);
const userinfo = await withNonce(
  () => oauth.userInfoRequest(server, client, tokens.access_token, options),
  (response) => oauth.processUserInfoResponse(server, client, user.sub, response),
);
const refreshed = await withNonce(
  () => oauth.refreshTokenGrantRequest(server, client, authentication, tokens.refresh_token, options),
  (response) => oauth.processRefreshTokenResponse(server, client, response),
);
const type = tokens.token_type;
console.log(JSON.stringify({ type, user, userinfo, refreshed: oauth.getValidatedIdTokenClaims(refreshed) }));
process.exit();
