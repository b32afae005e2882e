import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ACCESS_ROLES, type AccessRole } from '../../core/access.ts';
import { type HttpWorld, httpWorld } from '../support/http-world.ts';
import { type KnownCallers, knownCallers, WAYS, type Way } from '../support/known-callers.ts';

/**
 * Every route of the published document, asked by another tenant with the names and ids of one that has them, and with names and ids that nobody
 * has: the answers are the same, nothing of the one shows in them, and nothing of it has changed afterwards. In each way of being known: by a token of the
 * installation, as a person with each role of an issuer's groups, and as a service with each role by its certificate.
 */
let world: HttpWorld;
let callers: KnownCallers;
let routes: readonly Route[];
/** What is in a path of acme's. */
let ids: Readonly<Record<string, string>>;
let before: Readonly<Record<string, string>>;

interface Route {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  readonly path: string;
}

const ROLES = Object.keys(ACCESS_ROLES) as AccessRole[];
/** In every name that acme has, and in nothing that is rival's. */
const MARK = 'zebra';
const NOBODYS = 'zorro';
const NOBODYS_JOB = '01k00000000000000000000001';
/** Of the installation, not of a tenant: it takes the function `audit`. */
const WHOLE = /^\/(openapi\.json|healthz|readyz|metrics)$|^\/v1\/audit\/(bundle|state|witness|witness-records)$/;
/** Goes on as long as somebody listens. */
const ENDLESS = new Set(['/v1/events']);

const v1 = { apiVersion: 'merit/v1' };
const flavour = {
  name: `${MARK}-small`,
  resource: 'cpu',
  capacity: 4,
  price: { currency: 'USD', perUnitHour: '0.50' },
};
const documents: readonly (readonly [string, object])[] = [
  [
    `/v1/pools/${MARK}`,
    {
      ...v1,
      kind: 'Pool',
      name: MARK,
      provider: { kind: 'local' },
      flavours: [flavour],
      quotas: { [MARK]: { [flavour.name]: 4 } },
    },
  ],
  [`/v1/budgets/${MARK}`, { ...v1, kind: 'Budget', division: MARK, currency: 'USD', limit: '100.00' }],
  [`/v1/priority-classes/${MARK}`, { ...v1, kind: 'PriorityClass', name: MARK, value: 7 }],
  [
    `/v1/suites/${MARK}`,
    { ...v1, kind: 'Suite', name: MARK, metrics: { accuracy: { direction: 'higher', floor: 0, ceil: 1 } } },
  ],
];
const job = { name: MARK, division: MARK, resources: { cpus: 2 }, pools: [MARK], lease: '1h', run: MARK };

beforeAll(async () => {
  const known = ROLES.map((role) => ({ role, tenant: 'rival', name: `rival-${role}` }));
  callers = await knownCallers(known, 'of-nobody');
  world = await httpWorld(['suite-rollouts'], { identify: callers.identify });
  await callers.serve(world.app);
  for (const [path, document] of documents) {
    const put = await world.call('PUT', path, document);
    expect([path, put.statusCode < 300, put.body]).toEqual([path, true, put.body]);
  }
  const booked = await world.call('POST', '/v1/jobs', job);
  expect(booked.statusCode).toBe(202);
  const replay = await world.call('POST', '/v1/replays', { into: 'shadow', rate: 7 });
  expect(replay.statusCode).toBeLessThan(300);
  ids = { job: String(booked.json().id), replay: String(replay.json().id) };
  const { paths } = (await world.call('GET', '/openapi.json')).json() as { paths: Record<string, object> };
  routes = Object.entries(paths).flatMap(([path, operations]) =>
    Object.keys(operations)
      .map((method) => ({ method: method.toUpperCase() as Route['method'], path }))
      .filter(() => !WHOLE.test(path) && !ENDLESS.has(path)),
  );
  before = await acmes();
}, 60_000);
afterAll(async () => {
  await callers?.close();
  await world?.close();
});

/** A path with all that stands in braces put in: what acme has, or what nobody has. */
function pathOf({ path }: Route, whose: 'acmes' | 'nobodys'): string {
  const isAcmes = whose === 'acmes';
  const id = path.startsWith('/v1/replays') ? ids.replay! : ids.job!;
  return path
    .replace('{id}', isAcmes ? id : NOBODYS_JOB)
    .replace('{month}', new Date().toISOString().slice(0, 7))
    .replace('{path}', 'model.bin')
    .replace('{version}', '1')
    .replaceAll(/\{[a-z]+\}/g, isAcmes ? MARK : NOBODYS);
}

/** All that acme reads of its own, by path. */
async function acmes(): Promise<Readonly<Record<string, string>>> {
  const all: Record<string, string> = {};
  for (const route of routes) {
    if (route.method !== 'GET') continue;
    const path = pathOf(route, 'acmes');
    const { statusCode, body } = await world.call('GET', path);
    all[path] = `${statusCode} ${withoutTimes(body)}`;
  }
  return all;
}

/** What differs from call to call. */
function withoutTimes(body: string): string {
  return body
    .replaceAll(/"trace_id":"[0-9a-f]+"/g, '')
    .replaceAll(/"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z"/g, 'TIME')
    .replaceAll(/"(seq|now|asOf|at|nowMs|ageMs|oldestWaitMs|size|treeSize)":("[^"]*"|[0-9.]+|null)/g, '');
}

/** How rival comes. */
interface As {
  readonly title: string;
  readonly way: 'token' | Way;
  /** Of a person or a service. */
  readonly role?: AccessRole;
}
const AS: readonly As[] = [
  { title: 'the token of an installation', way: 'token' },
  ...WAYS.flatMap((way) => ROLES.map((role) => ({ title: `${way} as ${role}`, way, role }))),
];
let keys = 0;

async function answerTo(route: Route, whose: 'acmes' | 'nobodys', { way, role }: As) {
  const path = pathOf(route, whose);
  const body = route.method === 'POST' || route.method === 'PUT' ? {} : undefined;
  const { status, body: text } =
    role === undefined
      ? await byToken(route, path, body)
      : await callers.ask(way as Way, `rival-${role}`, {
          method: route.method,
          path,
          headers: route.method === 'POST' ? { 'idempotency-key': `rival-${++keys}` } : {},
          body,
        });
  const own = [ids.job!, ids.replay!, NOBODYS_JOB, MARK, NOBODYS];
  const hidden = (text: string) => own.reduce((left, name) => left.replaceAll(name, 'X'), text);
  return {
    status,
    text,
    alike: hidden(withoutTimes(text)),
  };
}

async function byToken({ method }: Route, path: string, given: object | undefined) {
  const { statusCode, body } = await world.call(method, path, given, {}, 'rival');
  return { status: statusCode, body };
}

describe.each(AS)('another tenant, by $title,', (as) => {
  test('learns nothing of what a tenant has: the same answer as for what nobody has', async () => {
    expect(routes.length).toBeGreaterThan(60);
    const differing: unknown[] = [];
    for (const route of routes) {
      if (!route.path.includes('{')) continue;
      const [real, unreal] = [await answerTo(route, 'acmes', as), await answerTo(route, 'nobodys', as)];
      // Who is not known would learn nothing anyway.
      if (real.status === 401 || real.status !== unreal.status || real.alike !== unreal.alike)
        differing.push({ route, real, unreal });
    }
    expect(differing).toEqual([]);
  });

  test('sees no byte of it in any list, and where it reads something there it is its own', async () => {
    const showing: unknown[] = [];
    for (const route of routes) {
      if (route.method !== 'GET' || route.path.includes('{id}') || route.path.includes('{name}')) continue;
      const { text } = await answerTo(route, 'nobodys', as);
      if ([MARK, ids.job!, ids.replay!].some((mark) => text.includes(mark))) showing.push({ route, text });
    }
    expect(showing).toEqual([]);
  });
});

test('nothing of it has changed by all that', async () => {
  expect(await acmes()).toEqual(before);
});

test('while the one reads what it has', () => {
  const read = Object.entries(before).filter(([, answer]) => answer.startsWith('200') && answer.includes(MARK));
  expect(read.length).toBeGreaterThan(12);
});
