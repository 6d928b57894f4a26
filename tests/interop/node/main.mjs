// One process for the npm libraries: a job as JSON on standard input, the results as JSON on standard output.
import { text } from "node:stream/consumers";

import * as jose from "./jose.mjs";
import * as oauth4webapi from "./oauth4webapi.mjs";
import * as openidClient from "./openid-client.mjs";

const LIBRARIES = {
  jose: jose.capabilities,
  oauth4webapi: oauth4webapi.capabilities,
  "openid-client": openidClient.capabilities,
};

const job = JSON.parse(await text(process.stdin));
const results = [];
for (const { library, capability } of job.tasks ?? []) {
  try {
    results.push({ library, capability, output: await LIBRARIES[library][capability](job) });
  } catch (error) {
    const { code, cause } = error;
    results.push({ library, capability, error: [error, code, JSON.stringify(cause)].filter(Boolean).join(" ") });
  }
}
const signed = job.sign ? await jose.sign(job.sign) : undefined;
process.stdout.write(JSON.stringify({ results, signed }));
