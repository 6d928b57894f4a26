// openid-client: the same checks as oauth4webapi, behind the interface that most applications use.
import * as client from "openid-client";

const EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token";

function configured(job, who, authentication, algorithm = "oauth2") {
  const options = { algorithm, execute: [client.allowInsecureRequests] };
  return client.discovery(new URL(job.issuer), who.id, undefined, authentication, options);
}

const basic = (job, who) => configured(job, who, client.ClientSecretBasic(who.secret));
const post = (job, who) => configured(job, who, client.ClientSecretPost(who.secret));

async function ofWorker(job) {
  return client.clientCredentialsGrant(await basic(job, job.clients.worker), { resource: job.audience });
}

async function refused(attempt) {
  try {
    await attempt();
  } catch (error) {
    if (error instanceof client.WWWAuthenticateChallengeError)
      return { status: error.status, challenge: error.cause[0].scheme };
    return { status: error.status, error: error.error };
  }
  throw new Error("not refused");
}

export const capabilities = {
  async oauth_discovery(job) {
    return (await configured(job, job.clients.worker, client.None())).serverMetadata();
  },
  async openid_discovery(job) {
    return (await configured(job, job.clients.worker, client.None(), "oidc")).serverMetadata();
  },
  client_secret_basic: (job) => ofWorker(job),
  async client_secret_post(job) {
    return client.clientCredentialsGrant(await post(job, job.clients.worker), { resource: job.audience });
  },

  async private_key_jwt(job) {
    const { id, jwk } = job.clients.assertion;
    const key = await crypto.subtle.importKey("jwk", jwk, { name: "ECDSA", namedCurve: jwk.crv }, false, ["sign"]);
    const config = await configured(job, { id }, client.PrivateKeyJwt({ key, kid: jwk.kid }));
    return client.clientCredentialsGrant(config, { resource: job.audience });
  },

  async refusals(job) {
    const { worker } = job.clients;
    const wrong = { id: worker.id, secret: "wrong" };
    const byBasic = await basic(job, wrong);
    const byPost = await post(job, wrong);
    const right = await basic(job, worker);
    return {
      basic: await refused(() => client.clientCredentialsGrant(byBasic)),
      post: await refused(() => client.clientCredentialsGrant(byPost)),
      scope: await refused(() =>
        client.clientCredentialsGrant(right, { resource: job.audience, scope: "payroll.destroy" }),
      ),
    };
  },

  async introspection(job) {
    const { access_token } = await ofWorker(job);
    const config = await basic(job, job.clients.server);
    return {
      active: await client.tokenIntrospection(config, access_token),
      unknown: await client.tokenIntrospection(config, "unknown"),
    };
  },

  async revocation(job) {
    const { access_token } = await ofWorker(job);
    const config = await basic(job, job.clients.worker);
    await client.tokenRevocation(config, access_token);
    await client.tokenRevocation(config, "unknown");
    return { access_token };
  },

  async token_exchange(job) {
    const { access_token } = await ofWorker(job);
    const config = await basic(job, job.clients.server);
    return client.genericGrantRequest(config, EXCHANGE, {
      subject_token: access_token,
      subject_token_type: ACCESS_TOKEN,
      resource: job.target,
    });
  },

  async dpop(job) {
    const config = await basic(job, job.clients.worker);
    const DPoP = client.getDPoPHandle(config, await client.randomDPoPKeyPair("ES256"));
    const given = await client.clientCredentialsGrant(config, { resource: job.audience }, { DPoP });
    const algorithms = config.serverMetadata().dpop_signing_alg_values_supported;
    return { ...given, jkt: await DPoP.calculateThumbprint(), algorithms };
  },
};
