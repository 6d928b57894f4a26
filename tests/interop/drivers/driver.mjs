// Drives oauth.mjs of docs/call/node.md: a command on each line of standard input, an answer on one line of output.
import { createInterface } from "node:readline";
import { MountedSecret } from "./oauth.mjs";

const secret = new MountedSecret(process.argv[2], process.argv[3]);

async function answer(line) {
  const [command, url] = line.split(" ");
  if (command === "new") return { token: (await secret.requestToken()).access_token };
  const response = await secret.fetch(url);
  return { status: response.status, body: await response.text() };
}

for await (const line of createInterface({ input: process.stdin })) {
  const found = await answer(line).catch((error) => ({ error: `${error}` }));
  console.log(JSON.stringify(found));
}
