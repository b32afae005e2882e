import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { RayJobClient } from 'ray-job-submission-client';
import { pythonVenv } from '../../support/python.ts';
import { rayForTests, TEST_RAY_CPUS, type TestRay } from '../../support/ray.ts';
import { type CuttingProxy, startCuttingProxy } from '../../support/ray-cutting-proxy.ts';
import { type ServerProcess, startServerProcess } from '../../support/server-process.ts';

/**
 * From the reply to `POST /v1/jobs` (the booking is durable) to Merit's POST as it reaches a proxy before a real Ray; and beside it from the call of
 * Ray's own Python client to its POST, in turns. One job holds all of Ray's CPUs, so that those of the pairs wait and cost nothing while they are
 * timed. Fails where the median is above the floor, with 25 % slack for a shared machine.
 */
const PAIRS = Number(process.argv[2] ?? 30);
const FLOOR_MS = 100;
const AIM_MS = 30;
const SLACK = 1.25;
const TENANT = 'default';
const DIVISION = 'vision';
const HOLDER = 'holds-all';
const WAIT_MS = 30_000;

const folder = await mkdtemp(join(tmpdir(), 'merit-overhead-'));
const ray = await rayForTests();
const proxy = await startCuttingProxy(ray.address);
const client = new RayJobClient({ address: ray.address, token: ray.token });
let server: ServerProcess | undefined;
const sdk = await startSdk();
try {
  server = await startServerProcess({
    stateDir: folder,
    env: { MERIT_NO_PYTHON: 'the benchmark has a Ray of its own', MERIT_TENANT: TENANT },
  });
  await furnish(server, proxy, ray);
  await client.submit({ submissionId: HOLDER, entrypoint: 'sleep 3600', numCpus: TEST_RAY_CPUS });
  while ((await client.get(HOLDER)).status !== 'RUNNING') await sleep(300);
  const merit: Timed[] = [];
  const peer: number[] = [];
  for (let pair = -2; pair < PAIRS; pair++) {
    const own = await timeMerit(server);
    const other = await timeSdk(`sdk-${pair + 2}`);
    if (pair < 0) continue;
    merit.push(own);
    peer.push(other);
  }
  report(merit, peer);
} finally {
  sdk.end();
  await server?.stop();
  await proxy.close();
  await client.stop(HOLDER).catch(() => false);
  client.close();
  await ray.stop();
  await rm(folder, { recursive: true, force: true });
}

interface Timed {
  /** From our request to its reply, and from that to the POST at Ray. */
  readonly acceptMs: number;
  readonly postMs: number;
  /** Of that, from the first call to Ray about it: what the provider takes. */
  readonly providerMs: number;
  /** What the trail says of the time before: event to milliseconds after the reply. */
  readonly events: ReadonlyMap<string, number>;
}

async function timeMerit({ url, token }: ServerProcess): Promise<Timed> {
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
  const job = {
    name: 'timed',
    division: DIVISION,
    resources: { cpus: 1 },
    pools: ['ray'],
    lease: '5m',
    recovery: { grace: '1s' },
    run: 'true',
  };
  const body = JSON.stringify(job);
  const askedMs = performance.now();
  const reply = await fetch(`${url}/v1/jobs`, {
    method: 'POST',
    headers: { ...headers, 'idempotency-key': randomUUID() },
    body,
  });
  const acceptedMs = performance.now();
  if (!reply.ok) throw new Error(`POST /v1/jobs was answered ${reply.status}: ${await reply.text()}`);
  const { id } = (await reply.json()) as { readonly id: string };
  const key = `m-${id}-1`;
  const posted = await arrival(key);
  const first = proxy.seen.find((one) => one.path.includes(key));
  const events = await trail(url, headers, id, performance.timeOrigin + acceptedMs);
  const cancel = await fetch(`${url}/v1/jobs/${id}:cancel`, {
    method: 'POST',
    headers: { ...headers, 'idempotency-key': randomUUID() },
    body: '{}',
  });
  if (!cancel.ok) throw new Error(`the job could not be cancelled: ${cancel.status} ${await cancel.text()}`);
  const deadlineMs = performance.now() + WAIT_MS;
  for (;;) {
    const state = ((await (await fetch(`${url}/v1/jobs/${id}`, { headers })).json()) as { readonly state: string })
      .state;
    if (state === 'cancelled') break;
    if (performance.now() > deadlineMs) throw new Error(`the job stays ${state}`);
    await sleep(200);
  }
  return {
    acceptMs: acceptedMs - askedMs,
    postMs: posted - acceptedMs,
    providerMs: posted - (first?.atMs ?? posted),
    events,
  };
}

async function arrival(id: string): Promise<number> {
  const deadlineMs = performance.now() + WAIT_MS;
  for (;;) {
    const post = proxy.posts.find((one) => one.id === id);
    if (post !== undefined) return post.atMs;
    if (performance.now() > deadlineMs) throw new Error(`${id} did not come to Ray`);
    await sleep(5);
  }
}

async function trail(
  url: string,
  headers: Readonly<Record<string, string>>,
  id: string,
  fromMs: number,
): Promise<ReadonlyMap<string, number>> {
  const reply = await fetch(`${url}/v1/jobs/${id}/events`, { headers });
  const { items } = (await reply.json()) as {
    readonly items: readonly { readonly type: string; readonly at: string }[];
  };
  return new Map(items.map((event) => [event.type, Date.parse(event.at) - fromMs]));
}

async function timeSdk(id: string): Promise<number> {
  const askedMs = performance.now();
  sdk.say(`submit ${id}`);
  const posted = await arrival(id);
  await sdk.said('submit');
  sdk.say(`stop ${id}`);
  await sdk.said('stop');
  return posted - askedMs;
}

async function startSdk() {
  const script = fileURLToPath(new URL('./sdk_submitter.py', import.meta.url));
  const child = spawn(join(pythonVenv(), 'bin', 'python'), [script, proxy.url], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, RAY_AUTH_MODE: 'token', RAY_AUTH_TOKEN_PATH: ray.tokenFile },
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const said = async (word: string): Promise<void> => {
    for (;;) {
      const { value, done } = await lines.next();
      if (done === true) throw new Error('Ray’s client ended');
      if (value === word) return;
    }
  };
  await said('ready');
  return { said, say: (line: string) => child.stdin.write(`${line}\n`), end: () => child.stdin.end() };
}

async function furnish({ url, token }: ServerProcess, { url: address }: CuttingProxy, { tokenFile }: TestRay) {
  const pool = {
    apiVersion: 'merit/v1',
    kind: 'Pool',
    name: 'ray',
    provider: { kind: 'ray', config: { address, tokenFile, flavours: [{ name: 'cpu' }] } },
    flavours: [{ name: 'cpu', resource: 'cpu', capacity: 64, price: { currency: 'USD', perUnitHour: '1.00' } }],
    quotas: { [DIVISION]: { cpu: 64 } },
  };
  const budget = { apiVersion: 'merit/v1', kind: 'Budget', division: DIVISION, currency: 'USD', limit: '100000.00' };
  for (const [path, document] of [
    ['/v1/pools/ray', pool],
    [`/v1/budgets/${DIVISION}`, budget],
  ] as const) {
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
    const reply = await fetch(url + path, { method: 'PUT', headers, body: JSON.stringify(document) });
    if (!reply.ok) throw new Error(`PUT ${path} was answered ${reply.status}: ${await reply.text()}`);
  }
}

function quantile(values: readonly number[], share: number): number {
  return values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))]!;
}

function report(merit: readonly Timed[], peer: readonly number[]): void {
  const line = (name: string, values: readonly number[]) =>
    console.log(
      `${name.padEnd(44)} p50 ${quantile(values, 0.5).toFixed(1)} ms   p95 ${quantile(values, 0.95).toFixed(1)} ms   max ${Math.max(...values).toFixed(1)} ms`,
    );
  console.log(`${merit.length} pairs, load ${loadavg()[0]?.toFixed(1)}`);
  const own = merit.map((one) => one.postMs);
  line('Merit: accepted → POST at Ray', own);
  line(
    '  of which in the provider',
    merit.map((one) => one.providerMs),
  );
  line(
    'Merit: request → accepted',
    merit.map((one) => one.acceptMs),
  );
  for (const type of new Set(merit.flatMap((one) => [...one.events.keys()]))) {
    line(
      `  ${type}, after accepted`,
      merit.flatMap((one) => one.events.get(type) ?? []),
    );
  }
  line('Ray’s Python client: call → POST at Ray', peer);
  const median = quantile(own, 0.5);
  const verdict = median <= AIM_MS ? 'meets its aim' : median <= FLOOR_MS ? 'above its floor' : 'misses its floor';
  console.log(`floor ${FLOOR_MS} ms, aim ${AIM_MS} ms: ${verdict}`);
  if (median > FLOOR_MS * SLACK) process.exitCode = 1;
}
