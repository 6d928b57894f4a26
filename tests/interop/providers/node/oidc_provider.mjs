// node oidc-provider, at which users log in by name and password. Tests change its users and keys by requests below /test/.
import { generateKeyPairSync, randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createSecureServer } from "node:https";
import { Provider } from "oidc-provider";
import MemoryAdapter from "oidc-provider/lib/adapters/memory_adapter.js";

// client: its metadata; users: by name; claimsInIDToken: whether the ID token has the claims of all scopes, or userinfo only.
const { issuer, client, users, tls, claimsInIDToken } = JSON.parse(readFileSync(process.argv[2], "utf8"));
const cookieKey = randomUUID();
let failing = false; // the token endpoint
const requests = []; // the parameters of each authorization request

const KEYS = {
  RS256: ["rsa", { modulusLength: 2048 }],
  PS256: ["rsa", { modulusLength: 2048 }],
  ES256: ["ec", { namedCurve: "P-256" }],
};

function newKey(alg) {
  const { privateKey } = generateKeyPairSync(...KEYS[alg]);
  return { ...privateKey.export({ format: "jwk" }), alg, use: "sig", kid: randomUUID() };
}

function findAccount(_, accountId) {
  const [name, user] = Object.entries(users).find(([, { id }]) => id === accountId) ?? [];
  if (!user || user.disabled) return undefined;
  const { name: fullName, email, groups } = user;
  return {
    accountId,
    claims: () => ({ sub: accountId, preferred_username: name, name: fullName, email, email_verified: true, groups }),
  };
}

async function grantOf(ctx) {
  const { client: { clientId }, session: { accountId }, params, provider } = ctx.oidc;
  const grant = new provider.Grant({ clientId, accountId });
  grant.addOIDCScope(params.scope);
  await grant.save();
  return grant;
}

function newProvider(alg) {
  return new Provider(issuer, {
    adapter: (model) => new MemoryAdapter(model), // all providers of the process have the same sessions and tokens
    jwks: { keys: [newKey(alg)] },
    clients: [{ ...client, id_token_signed_response_alg: alg }],
    enabledJWA: { idTokenSigningAlgValues: Object.keys(KEYS) },
    scopes: ["openid", "offline_access", "profile", "email", "groups"],
    claims: {
      openid: ["sub"],
      profile: ["name", "preferred_username"],
      email: ["email", "email_verified"],
      groups: ["groups"],
    },
    conformIdTokenClaims: !claimsInIDToken,
    cookies: { keys: [cookieKey] },
    features: { devInteractions: { enabled: false } },
    findAccount,
    interactions: { url: (_, { uid }) => `/interaction/${uid}` },
    issueRefreshToken: (_, { grantTypes }) => grantTypes.includes("refresh_token"),
    loadExistingGrant: grantOf,
  });
}

let provider = newProvider(client.id_token_signed_response_alg ?? "RS256");

async function read(request) {
  let text = "";
  for await (const chunk of request) text += chunk;
  return text;
}

function showLogin(response, status) {
  const page = `<!doctype html><html lang=en><title>Log in</title><main><h1 id=heading>${status === 200 ? "Log in" : "Wrong"}</h1>
    <form id=provider-login method=post><label>Name <input id=name name=name autocomplete=username></label>
    <label>Password <input id=password name=password type=password autocomplete=current-password></label><button id=provider-log-in>Log in</button>
    <button id=provider-cancel name=cancel value=yes>Cancel</button></form>`;
  response.writeHead(status, { "content-type": "text/html; charset=utf-8", "cache-control": "no-store" }).end(page);
}

async function interact(request, response) {
  await provider.interactionDetails(request, response);
  if (request.method === "GET") return showLogin(response, 200);
  const form = new URLSearchParams(await read(request));
  if (form.get("cancel")) return provider.interactionFinished(request, response, { error: "access_denied" });
  const user = users[form.get("name")];
  if (!user || user.disabled || user.password !== form.get("password")) return showLogin(response, 401);
  return provider.interactionFinished(request, response, { login: { accountId: user.id } });
}

async function control(request, response) {
  const body = request.method === "POST" ? JSON.parse(await read(request)) : {};
  if (request.url === "/test/keys") provider = newProvider(body.alg);
  if (request.url === "/test/failing") failing = body.failing;
  if (request.url === "/test/users") Object.assign(users[body.user], body.changes);
  response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(requests));
}

async function answer(request, response) {
  const url = new URL(request.url, issuer);
  if (url.pathname.startsWith("/test/")) return control(request, response);
  if (url.pathname.startsWith("/interaction/")) return interact(request, response);
  if (failing && url.pathname === "/token") return response.writeHead(503).end();
  if (url.pathname === "/auth") requests.push(Object.fromEntries(url.searchParams));
  return provider.callback()(request, response);
}

const listener = (request, response) => answer(request, response).catch((error) => {
  console.error(error);
  response.writeHead(500).end();
});
const server = tls ? createSecureServer(tls, listener) : createServer(listener);
server.listen(new URL(issuer).port, "127.0.0.1");
