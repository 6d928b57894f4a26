// oauth4webapi: low level, one call for a request and one that checks the answer to the letter.
import * as oauth from "oauth4webapi";

const LOOPBACK = { [oauth.allowInsecureRequests]: true };
const EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token";

async function discover(job, algorithm = "oauth2") {
  const issuer = new URL(job.issuer);
  const response = await oauth.discoveryRequest(issuer, { algorithm, ...LOOPBACK });
  return oauth.processDiscoveryResponse(issuer, response);
}

async function token(job, who, authentication, parameters = {}, options = {}) {
  const as = await discover(job);
  const client = { client_id: who.id };
  const asked = { resource: job.audience, ...parameters };
  const response = await oauth.clientCredentialsGrantRequest(as, client, authentication, asked, {
    ...LOOPBACK,
    ...options,
  });
  return oauth.processClientCredentialsResponse(as, client, response);
}

const basic = (who) => oauth.ClientSecretBasic(who.secret);
const ofWorker = (job) => token(job, job.clients.worker, basic(job.clients.worker));

async function refused(attempt) {
  try {
    await attempt;
  } catch (error) {
    if (error instanceof oauth.WWWAuthenticateChallengeError)
      return { status: error.status, challenge: error.cause[0].scheme };
    return { status: error.status, error: error.error };
  }
  throw new Error("not refused");
}

async function introspect(job, value) {
  const as = await discover(job);
  const { server } = job.clients;
  const client = { client_id: server.id };
  const response = await oauth.introspectionRequest(as, client, basic(server), value, LOOPBACK);
  return oauth.processIntrospectionResponse(as, client, response);
}

export const capabilities = {
  oauth_discovery: (job) => discover(job),
  openid_discovery: (job) => discover(job, "oidc"),
  client_secret_basic: (job) => ofWorker(job),
  client_secret_post: (job) => token(job, job.clients.worker, oauth.ClientSecretPost(job.clients.worker.secret)),

  async private_key_jwt(job) {
    const { id, jwk } = job.clients.assertion;
    const key = await crypto.subtle.importKey("jwk", jwk, { name: "ECDSA", namedCurve: jwk.crv }, false, ["sign"]);
    return token(job, { id }, oauth.PrivateKeyJwt({ key, kid: jwk.kid }));
  },

  async refusals(job) {
    const { worker } = job.clients;
    const wrong = { id: worker.id, secret: "wrong" };
    return {
      basic: await refused(token(job, wrong, basic(wrong))),
      post: await refused(token(job, wrong, oauth.ClientSecretPost(wrong.secret))),
      scope: await refused(token(job, worker, basic(worker), { scope: "payroll.destroy" })),
    };
  },

  async access_token(job) {
    const as = await discover(job);
    const { worker } = job.clients;
    const output = {};
    for (const [algorithm, resource] of Object.entries(job.algorithms)) {
      const { access_token } = await token(job, worker, basic(worker), { resource });
      const request = new Request(resource, { headers: { authorization: `Bearer ${access_token}` } });
      output[algorithm] = await oauth.validateJwtAccessToken(as, request, resource, LOOPBACK);
    }
    return output;
  },

  async introspection(job) {
    const { access_token } = await ofWorker(job);
    return { active: await introspect(job, access_token), unknown: await introspect(job, "unknown") };
  },

  async revocation(job) {
    const as = await discover(job);
    const { worker } = job.clients;
    const { access_token } = await ofWorker(job);
    for (const value of [access_token, "unknown"]) {
      const response = await oauth.revocationRequest(as, { client_id: worker.id }, basic(worker), value, LOOPBACK);
      await oauth.processRevocationResponse(response);
    }
    return { access_token };
  },

  async token_exchange(job) {
    const as = await discover(job);
    const { server } = job.clients;
    const client = { client_id: server.id };
    const { access_token } = await ofWorker(job);
    const parameters = {
      subject_token: access_token,
      subject_token_type: ACCESS_TOKEN,
      resource: job.target,
    };
    const response = await oauth.genericTokenEndpointRequest(
      as,
      client,
      basic(server),
      EXCHANGE,
      parameters,
      LOOPBACK,
    );
    return oauth.processGenericTokenEndpointResponse(as, client, response);
  },

  async dpop(job) {
    const as = await discover(job);
    const { worker } = job.clients;
    const keys = await oauth.generateKeyPair("ES256");
    const DPoP = oauth.DPoP({ client_id: worker.id }, keys);
    const ask = () => token(job, worker, basic(worker), {}, { DPoP });
    const given = await ask().catch((error) => {
      if (oauth.isDPoPNonceError(error)) return ask();
      throw error;
    });
    return { ...given, jkt: await DPoP.calculateThumbprint(), algorithms: as.dpop_signing_alg_values_supported };
  },
};
