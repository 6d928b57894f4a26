// A server in several processes.
import cluster from 'node:cluster';

// Calls `listen` in each of `workers` processes. The first process prints `ready` once all of them listen, and ends with
// any of them.
export function listenInWorkers(workers, listen) {
  if (!cluster.isPrimary) {
    listen();
    return;
  }
  let listening = 0;
  cluster.on('listening', () => { listening += 1; if (listening === workers) console.log('ready'); });
  cluster.on('exit', () => process.exit(1));
  for (let n = 0; n < workers; n += 1) cluster.fork();
  process.on('SIGTERM', () => process.exit(0));
}
