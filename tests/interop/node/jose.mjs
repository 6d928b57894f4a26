// jose: verifies tokens of the issuer, and signs tokens for the verifier.
import * as jose from "jose";

export const capabilities = {
  async access_token(job) {
    const metadata = await (await fetch(`${job.issuer}/.well-known/openid-configuration`)).json();
    const keys = jose.createRemoteJWKSet(new URL(metadata.jwks_uri));
    const output = {};
    for (const [algorithm, audience] of Object.entries(job.algorithms)) {
      const checks = { issuer: job.issuer, audience, typ: "at+jwt", algorithms: [algorithm], requiredClaims: ["exp"] };
      const { payload } = await jose.jwtVerify(job.tokens[algorithm], keys, checks);
      output[algorithm] = payload;
    }
    return output;
  },
};

// Keys made and exported by this library; a payload is signed as the text that it is, good JSON or not.
export async function sign({ keys, tokens }) {
  const made = {};
  const published = [];
  for (const { name, kid, alg } of keys) {
    const pair = alg.startsWith("HS")
      ? { privateKey: await jose.generateSecret(alg) }
      : await jose.generateKeyPair(alg, { extractable: true });
    made[name] = pair.privateKey;
    if (kid) published.push({ ...(await jose.exportJWK(pair.publicKey)), kid, alg, use: "sig" });
  }
  const signed = {};
  for (const { name, key, header, payload } of tokens) {
    const crit = Object.fromEntries((header.crit ?? []).map((each) => [each, true]));
    const signer = new jose.CompactSign(new TextEncoder().encode(payload)).setProtectedHeader(header);
    signed[name] = await signer.sign(made[key], { crit }).then(
      (value) => ({ token: value }),
      (error) => ({ error: `${error}` }),
    );
  }
  return { jwks: { keys: published }, tokens: signed };
}
