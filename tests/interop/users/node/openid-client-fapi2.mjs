// A login by FAPI 2.0 with openid-client: private_key_jwt, a pushed request and DPoP.
// It prints the URL for the browser, reads the URL that the browser comes back to, and prints what it got.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline/promises";
import * as client from "openid-client";

const secret = (name) => readFileSync(`${process.env.SCOPEWRIGHT_SECRET_DIR}/${name}`, "utf8").trim();
const issuer = new URL(secret("issuer"));
const jwk = JSON.parse(secret("private_key.jwk")); // it rotates: read it again for a login that comes later
const key = await crypto.subtle.importKey("jwk", jwk, { name: "ECDSA", namedCurve: "P-256" }, false, ["sign"]);
const execute = issuer.hostname === "127.0.0.1" ? [client.allowInsecureRequests] : []; // scopewright dev
const authentication = client.PrivateKeyJwt({ key, kid: jwk.kid });
const config = await client.discovery(issuer, secret("client_id"), {}, authentication, { execute });
client.enableNonRepudiationChecks(config);
const DPoP = client.getDPoPHandle(config, await client.randomDPoPKeyPair("ES256"));

const pkceCodeVerifier = client.randomPKCECodeVerifier();
const checks = { pkceCodeVerifier, expectedState: client.randomState(), expectedNonce: client.randomNonce() };
const parameters = {
  redirect_uri: process.env.REDIRECT_URI,
  scope: "openid profile",
  code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
  code_challenge_method: "S256",
  state: checks.expectedState,
  nonce: checks.expectedNonce,
};
console.log((await client.buildAuthorizationUrlWithPAR(config, parameters, { DPoP })).href);

const back = new URL(await createInterface({ input: process.stdin }).question(""));
const expected = { ...checks, idTokenExpected: true };
const tokens = await client.authorizationCodeGrant(config, back, expected, undefined, { DPoP });
const user = tokens.claims();
const userinfo = await client.fetchUserInfo(config, tokens.access_token, user.sub, { DPoP });
const refreshed = await client.refreshTokenGrant(config, tokens.refresh_token, undefined, { DPoP });
console.log(JSON.stringify({ type: tokens.token_type, user, userinfo, refreshed: refreshed.claims() }));
process.exit();
