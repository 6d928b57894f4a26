// node oidc-provider with the same configuration: client_credentials with Basic, JWT access tokens signed with ES256,
// resource indicators; clients from a file, in `workers` processes.
import { readFileSync } from 'node:fs';
import * as oidc from 'oidc-provider';
import { listenInWorkers } from './workers.mjs';

const Provider = oidc.Provider ?? oidc.default;
const { port, workers, issuer, audience, scope, lifetime, jwk, clients } = JSON.parse(readFileSync(process.argv[2]));

listenInWorkers(workers, () => {
  const provider = new Provider(issuer, {
    jwks: { keys: [jwk] },
    clients: clients.map(([client_id, client_secret]) => ({
      client_id,
      client_secret,
      grant_types: ['client_credentials'],
      response_types: [],
      redirect_uris: [],
      token_endpoint_auth_method: 'client_secret_basic',
      id_token_signed_response_alg: 'ES256',
    })),
    scopes: [scope],
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: () => ({
          scope,
          audience,
          accessTokenTTL: lifetime,
          accessTokenFormat: 'jwt',
          jwt: { sign: { alg: 'ES256' } },
        }),
      },
    },
  });
  provider.proxy = true;
  provider.listen(port, '127.0.0.1');
});
