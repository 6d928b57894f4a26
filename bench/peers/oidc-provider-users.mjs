// node oidc-provider as `bench.users` needs it: users who log in with any password, first-party applications, tokens of
// the same format and algorithms as Scopewright's, and state in Redis; in `workers` processes.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import * as oidc from 'oidc-provider';
import { redisAdapter } from './redis-adapter.mjs';
import { listenInWorkers } from './workers.mjs';

const Provider = oidc.Provider ?? oidc.default;
const settings = JSON.parse(readFileSync(process.argv[2]));
const { port, workers, issuer, audience, scope, groups, lifetime, keys, idTokenAlgorithm, clients } = settings;

function findAccount(_, accountId) {
  const claims = { sub: accountId, name: accountId, preferred_username: accountId, groups };
  return { accountId, claims: () => ({ ...claims, email: `${accountId}@hr.example`, email_verified: true }) };
}

// The applications are the platform's own: users are not asked for consent, but every login has its grant.
async function grantOf(ctx) {
  const { client: { clientId }, session: { accountId }, provider } = ctx.oidc;
  const grant = new provider.Grant({ clientId, accountId });
  grant.addOIDCScope('openid profile email groups');
  grant.addResourceScope(audience, scope);
  await grant.save();
  return grant;
}

const provider = new Provider(issuer, {
  adapter: redisAdapter(settings.redis),
  jwks: { keys },
  clients: clients.map(({ id, secret, redirectURI }) => ({
    client_id: id,
    ...(secret ? { client_secret: secret } : {}),
    token_endpoint_auth_method: secret ? 'client_secret_basic' : 'none',
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    redirect_uris: [redirectURI],
    id_token_signed_response_alg: idTokenAlgorithm,
  })),
  scopes: ['openid', 'profile', 'email', 'groups'],
  claims: { openid: ['sub'], profile: ['name', 'preferred_username'], email: ['email', 'email_verified'], groups: ['groups'] },
  conformIdTokenClaims: false,
  cookies: { keys: ['bench'] },
  findAccount,
  interactions: { url: (_, { uid }) => `/interaction/${uid}` },
  issueRefreshToken: () => true,
  loadExistingGrant: grantOf,
  rotateRefreshToken: (ctx) => ctx.oidc.client.clientAuthMethod === 'none',
  ttl: {
    AccessToken: lifetime, AuthorizationCode: 60, Grant: 43200, IdToken: 600, Interaction: 600, RefreshToken: 43200, Session: 43200,
  },
  features: {
    devInteractions: { enabled: false },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: () => ({
        scope, audience, accessTokenTTL: lifetime, accessTokenFormat: 'jwt', jwt: { sign: { alg: 'ES256' } },
      }),
    },
  },
});
provider.proxy = true;
const respond = provider.callback();

async function logIn(request, response) {
  await provider.interactionDetails(request, response);
  if (request.method === 'GET') {
    const page = '<!doctype html><title>Log in</title><form method="post" action="">'
      + '<input name="username"><input name="password" type="password"><button>Log in</button></form>';
    const headers = { 'content-type': 'text/html; charset=utf-8', 'content-length': Buffer.byteLength(page) };
    return response.writeHead(200, headers).end(page);
  }
  let text = '';
  for await (const part of request) text += part;
  const form = new URLSearchParams(text);
  return provider.interactionFinished(request, response, { login: { accountId: form.get('username') } });
}

function serve(request, response) {
  if (!request.url.startsWith('/interaction/')) return respond(request, response);
  return logIn(request, response).catch((error) => {
    console.error(error);
    response.writeHead(500, { 'content-length': 0 }).end();
  });
}

function listen(listening) {
  createServer({ keepAliveTimeout: 75_000 }, serve).listen(port, '127.0.0.1', listening);
}

if (workers > 1) listenInWorkers(workers, listen);
else listen(() => console.log('ready'));
