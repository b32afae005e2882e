import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { capacityAccount, quotaAccount } from '../../ledger/quota/account.ts';
import { executeLinked } from '../../ledger/quota/execute.sql.ts';
import { loadConfig } from '../../pools/load-config.ts';
import { QuotaTree } from '../../pools/quota-tree.ts';
import { healthy } from '../support/healthy.ts';
import { type HttpWorld, httpWorld } from '../support/http-world.ts';

let world: HttpWorld;
const call: HttpWorld['call'] = (...args) => world.call(...args);

beforeAll(async () => {
  world = await httpWorld();
});

afterAll(async () => {
  await world?.close();
});

const v1 = { apiVersion: 'merit/v1' } as const;
const pool = (over: object = {}) => ({
  ...v1,
  kind: 'Pool',
  name: 'east',
  provider: { kind: 'ray' },
  flavours: [
    { name: 'h100', resource: 'gpu', capacity: 16, gpuType: 'H100', price: { currency: 'USD', perUnitHour: '2.00' } },
    { name: 'spot', resource: 'gpu', capacity: 8, spot: true, price: { currency: 'USD', perUnitHour: '0.50' } },
  ],
  quotas: { vision: { h100: 8 }, speech: { h100: { nominal: 4, borrow: 2, lend: 1 } } },
  ...over,
});
const group = (name: string, over: object = {}) => ({ ...v1, kind: 'Group', name, ...over });
const division = (name: string, over: object = {}) => ({ ...v1, kind: 'Division', name, ...over });
const budget = (over: object = {}) => ({
  ...v1,
  kind: 'Budget',
  division: 'vision',
  currency: 'USD',
  limit: '100.00',
  ...over,
});
const whole = () => [
  budget(),
  pool(),
  division('vision', { group: 'research' }),
  { ...v1, kind: 'PriorityClass', name: 'urgent', value: 100 },
  division('speech', { group: 'research', weight: 1.5, preemption: { reclaim: 'any' } }),
  group('research', { parent: 'org', quotas: { east: { spot: { nominal: 2 } } } }),
  group('org'),
  { ...v1, kind: 'Scheduling', fairSharing: {}, guards: { minRunTime: '5m', pools: { east: { grace: '30s' } } } },
];
/** A pending transfer of GPUs, as of a booking that is reserved. */
const take = async (name: string, amount: bigint) => {
  const debit = capacityAccount('acme', 'east', 'h100', 'gpu');
  const credit = quotaAccount('acme', name, 'east', 'h100', 'gpu');
  const result = await world.database.db.asEngine((tx) =>
    executeLinked(tx, { tenant: 'acme', nowMs: Date.now() }, [
      { kind: 'pending', id: `of-${name}`, debit, credit, amount },
    ]),
  );
  return result.ok ? 'ok' : result.outcome.kind;
};
const config = () => loadConfig(world.database.db, 'acme', Date.now(), () => healthy());

describe('documents applied together', () => {
  test('are told field by field by a dry run, which changes nothing and needs no key', async () => {
    const tried = await call('POST', '/v1/apply?dryRun=true', { documents: whole() }, { 'idempotency-key': '' });
    expect(tried.statusCode).toBe(200);
    const { dryRun, changes } = tried.json();
    expect(dryRun).toBe(true);
    expect(changes.map((one: { kind: string; change: string }) => `${one.kind} ${one.change}`)).toEqual([
      'Group created',
      'Group created',
      'Division created',
      'Division created',
      'PriorityClass created',
      'Pool created',
      'Budget created',
      'Scheduling created',
    ]);
    for (const table of ['pools', 'quota_documents', 'accounts', 'divisions', 'audit_events', 'idempotency_keys'])
      expect([table, await world.count(table)]).toEqual([table, 0]);
  });

  test('are applied in the order of what they name, whatever theirs, each with its audit event', async () => {
    const done = await call('POST', '/v1/apply', { documents: whole() });
    expect(done.statusCode).toBe(200);
    expect(done.json()).toMatchObject({ dryRun: false, drainDebt: [] });
    const { items } = (await call('GET', '/v1/audit/events?limit=100')).json();
    expect(items.map((event: { subject: string; type: string }) => `${event.subject} ${event.type}`).sort()).toEqual([
      'budget/vision-USD budget.created',
      'division/speech division.created',
      'division/vision division.created',
      'group/org group.created',
      'group/research group.created',
      'pool/east pool.created',
      'priority-class/urgent priority_class.created',
      'scheduling/default scheduling.created',
    ]);
  });

  test('whose provider is none, or has a config that its own schema refuses, are refused by field, whole', async () => {
    const before = await world.count('audit_events');
    const provider = { kind: 'ray', config: { adress: 'http://ray:8265', timeoutMs: 0 } };
    const documents = [group('extra'), pool({ provider }), pool({ name: 'west', provider: { kind: '/opt/acme' } })];
    const refused = await call('POST', '/v1/apply', { documents });
    expect(refused.statusCode).toBe(422);
    const fields = refused.json().reasons.map(({ field }: { field: string }) => field);
    expect(fields.sort()).toEqual([
      'documents.1.provider.config.address',
      'documents.1.provider.config.adress',
      'documents.1.provider.config.timeoutMs',
      'documents.2.provider.kind',
    ]);
    const alone = await call('PUT', '/v1/pools/east', pool({ provider: { kind: 'merit-provider-nobody-has' } }));
    expect(alone.statusCode).toBe(422);
    expect(alone.json().reasons).toMatchObject([
      { field: 'provider.kind', mend: expect.stringContaining('npm install merit-provider-nobody-has') },
    ]);
    expect(await world.count('audit_events')).toBe(before);
  });

  test('that are as they stand change nothing, and tell their versions', async () => {
    const before = await world.count('audit_events');
    const again = (await call('POST', '/v1/apply', { documents: whole() })).json();
    expect(new Set(again.changes.map((one: { change: string }) => one.change))).toEqual(new Set(['unchanged']));
    const { version } = (await call('GET', '/v1/groups/org')).json();
    expect(again.changes[0]).toMatchObject({ kind: 'Group', name: 'org', version });
    expect(await world.count('audit_events')).toBe(before);
  });

  test('reach the planner as they say', async () => {
    const { config: input, gpuTypes } = await config();
    expect(input).toMatchObject({
      fairSharing: { enabled: true, strategies: ['final', 'initial'] },
      groups: [
        { name: 'org', parent: null },
        { name: 'research', parent: 'org', quota: [{ flavour: 'east/spot', nominalMilli: 2000, borrowMilli: null }] },
      ],
      guards: [
        { pool: null, minRunMs: 300_000, graceMs: 0 },
        { pool: 'east', minRunMs: 0, graceMs: 30_000 },
      ],
    });
    const [speech, vision] = input.divisions;
    expect(speech).toMatchObject({
      name: 'speech',
      group: 'research',
      weightMilli: 1500,
      flavours: ['east/h100'],
      preemption: { own: 'never', reclaim: 'any', borrow: null },
      fallback: { whenFull: 'next', prefer: 'borrow' },
      queueing: 'best-effort',
    });
    expect(speech?.quota[0]).toEqual({
      flavour: 'east/h100',
      resource: 'gpu',
      nominalMilli: 4000,
      borrowMilli: 2000,
      lendMilli: 1000,
    });
    expect(vision?.budgets).toEqual([{ currency: 'USD', limitMinor: 10_000n, spentMinor: 0n }]);
    expect(gpuTypes.get('east/h100')).toBe('H100');
  });

  test('give the accounts the very limits that the planner reckons with', async () => {
    const { config: input } = await config();
    const tree = new QuotaTree(input);
    const rows = await world.database.db.asEngine((tx) =>
      tx.query<{ division: string; flavour: string; net_limit: bigint | null; local_limit: bigint | null }>(
        "select division, flavour, net_limit, local_limit from accounts where tenant = 'acme' and kind = 'quota' order by 1, 2",
      ),
    );
    expect(rows.length).toBeGreaterThan(3);
    for (const { division: name, flavour, net_limit, local_limit } of rows) {
      const at = tree.at(tree.division(name) ?? -1, tree.cellOf(`east/${flavour}`, 'gpu'));
      const borrow = tree.borrow[at] ?? 0;
      const most = Number.isFinite(borrow) ? BigInt((tree.subtree[at] ?? 0) + borrow) : null;
      expect([name, flavour, net_limit, local_limit]).toEqual([name, flavour, most, BigInt(tree.local[at] ?? 0)]);
    }
    const [root] = await world.database.db.asEngine((tx) =>
      tx.query<{ net_limit: bigint }>(
        "select net_limit from accounts where account_id = 'group:acme:org:east:h100:gpu'",
      ),
    );
    // Of 16, 12 are granted: the rest is the root's, with all that vision lends and the one of speech.
    expect(root?.net_limit).toBe(13_000n);
  });

  test('are refused all at once, each with its field, and none is applied', async () => {
    const bad = [
      pool({ quotas: { vision: { h100: 1.5 } } }),
      group('a', { parent: 'a' }),
      { ...v1, kind: 'Nonsense' },
      division('x', { weight: 0.0001 }),
      { ...v1, kind: 'Scheduling', guards: { minRunTime: 'soon' } },
    ];
    const refused = (await call('POST', '/v1/apply', { documents: bad })).json();
    expect(refused.reasons.map((reason: { field: string; code: string }) => `${reason.field} ${reason.code}`)).toEqual([
      'documents.0.quotas.vision.h100 integer',
      'documents.2.kind kind',
      'documents.3.weight scale',
      'documents.4.guards.minRunTime duration',
    ]);
    const loops = [group('a', { parent: 'b' }), group('b', { parent: 'a' }), division('x', { group: 'nowhere' })];
    const looped = (await call('POST', '/v1/apply', { documents: loops })).json();
    expect(looped.reasons.map((reason: { field: string; code: string }) => `${reason.field} ${reason.code}`)).toEqual([
      'documents.0.parent loop',
      'documents.1.parent loop',
      'documents.2.group unknown_group',
    ]);
    expect((await call('GET', '/v1/groups/a')).statusCode).toBe(404);
  });

  test('G12: of a group that asks for more than is left of a pool are refused in the name of the pool', async () => {
    const greedy = await call('PUT', '/v1/groups/org', group('org', { quotas: { east: { h100: 5 } } }));
    expect(greedy.json()).toMatchObject({ status: 422, code: 'overcommit', reasons: [{ field: 'Pool east.quotas' }] });
    const lavish = { documents: [group('org', { quotas: { east: { h100: 5 } } }), pool({ overcommit: true })] };
    expect((await call('POST', '/v1/apply?dryRun=true', lavish)).statusCode).toBe(200);
  });

  test('are applied by version where one is given, or not at all', async () => {
    const documents = [group('org', { weight: 2 }), group('research', { parent: 'org', weight: 3 })];
    const { version } = (await call('GET', '/v1/groups/org')).json();
    const stale = await call('POST', '/v1/apply', {
      documents,
      versions: { 'Group/org': version, 'Group/research': '1' },
    });
    expect(stale.json()).toMatchObject({
      status: 412,
      code: 'stale',
      detail: expect.stringContaining('Group/research'),
    });
    expect((await call('GET', '/v1/groups/org')).json()).toMatchObject({ version, weight: 1 });
    const strange = await call('POST', '/v1/apply', { documents, versions: { 'Group/none': '1' } });
    expect(strange.json()).toMatchObject({ status: 422, code: 'unknown' });
  });
});

describe('a document of its own', () => {
  test('H47: is changed by whoever read it last, and its new version is never an old one', async () => {
    const made = await call('PUT', '/v1/groups/guests', group('guests'));
    expect(made.statusCode).toBe(201);
    const etag = String(made.headers.etag);
    const changed = await call('PUT', '/v1/groups/guests', group('guests', { weight: 0 }), { 'if-match': etag });
    expect(changed.statusCode).toBe(200);
    expect(changed.headers.etag).not.toBe(etag);
    const late = await call('PUT', '/v1/groups/guests', group('guests', { weight: 5 }), { 'if-match': etag });
    expect(late.json()).toMatchObject({ status: 412, code: 'stale' });
    expect((await call('DELETE', '/v1/groups/guests', undefined, { 'if-match': etag })).statusCode).toBe(412);
    expect((await call('DELETE', '/v1/groups/guests')).json()).toMatchObject({ changes: [{ change: 'removed' }] });
    const anew = await call('PUT', '/v1/groups/guests', group('guests'), { 'if-none-match': '*' });
    expect([etag, changed.headers.etag]).not.toContain(anew.headers.etag);
    expect(
      (await call('GET', '/v1/groups/guests', undefined, { 'if-none-match': String(anew.headers.etag) })).statusCode,
    ).toBe(304);
    await call('DELETE', '/v1/groups/guests');
  });

  test('H47: of many who change it at once from one version, one does, and the others are told', async () => {
    const { etag } = (await call('GET', '/v1/priority-classes/urgent')).headers;
    const put = (value: number) =>
      call(
        'PUT',
        '/v1/priority-classes/urgent',
        { ...v1, kind: 'PriorityClass', name: 'urgent', value },
        { 'if-match': String(etag) },
      );
    // A connection for each is open before: else the first is done when the others begin.
    await Promise.all([1, 2, 3, 4].map(() => call('GET', '/v1/quotas')));
    const answers = await Promise.all([101, 102, 103, 104].map(put));
    expect(answers.map((answer) => answer.statusCode).sort()).toEqual([200, 412, 412, 412]);
    await call('PUT', '/v1/priority-classes/urgent', { ...v1, kind: 'PriorityClass', name: 'urgent', value: 100 });
  });

  test('tells by a dry run what would differ, and stays as it is', async () => {
    const tried = await call(
      'PUT',
      '/v1/divisions/speech?dryRun=true',
      division('speech', { group: 'research', queueing: 'strict' }),
    );
    expect(tried.json().changes[0].differences).toEqual([
      { field: 'preemption', from: { reclaim: 'any' }, to: null },
      { field: 'queueing', from: null, to: 'strict' },
      { field: 'weight', from: 1.5, to: null },
    ]);
    expect((await call('GET', '/v1/divisions/speech')).json()).toMatchObject({ weight: 1.5, queueing: 'best-effort' });
    expect((await call('DELETE', '/v1/scheduling?dryRun=true')).statusCode).toBe(200);
    expect((await call('GET', '/v1/scheduling')).json().file.fairSharing).toEqual({});
  });

  test('is the same 404 to another tenant as one that is not there', async () => {
    for (const path of ['groups/org', 'divisions/vision', 'priority-classes/urgent', 'budgets/vision', 'scheduling']) {
      const theirs = await call('GET', `/v1/${path}`, undefined, {}, 'rival');
      expect([path, theirs.statusCode]).toEqual([path, 404]);
    }
    expect((await call('GET', '/v1/groups', undefined, {}, 'rival')).json()).toEqual({ items: [] });
  });

  test('H33, H36, H37: with a field of its own, too long a name or a homoglyph is refused', async () => {
    const put = (name: string, body: object) => call('PUT', `/v1/groups/${encodeURIComponent(name)}`, body);
    expect((await put('org', group('org', { state: 'applied' }))).json().code).toBe('unknown_field');
    expect((await put('a'.repeat(300), group('a'.repeat(300)))).json().code).toBe('length');
    expect((await put('оrg', group('оrg'))).json().code).toBe('charset');
    expect((await put('org', group('other'))).json()).toMatchObject({ status: 422, code: 'name' });
  });

  test.each([
    ['a fraction of a GPU', 1.5, 'integer'],
    ['more than an integer holds', 2 ** 53, 'unsafe_integer'],
    ['less than nothing', -1, 'range'],
    ['text', '8', 'integer'],
    ['a nominal that is missing', {}, 'required'],
  ])('H27, H29: a quota of %s is refused', async (_what, quota, code) => {
    const answer = await call('PUT', '/v1/groups/org', group('org', { quotas: { east: { h100: quota } } }));
    expect(answer.json()).toMatchObject({ status: 422, code });
  });

  test('lists page through all of them', async () => {
    const first = (await call('GET', '/v1/groups?limit=1')).json();
    expect(first.items).toMatchObject([{ name: 'org', parent: null, weight: 1 }]);
    const second = (await call('GET', `/v1/groups?limit=1&cursor=${first.nextCursor}`)).json();
    expect(second.items).toMatchObject([{ name: 'research', parent: 'org' }]);
    expect((await call('GET', '/v1/priority-classes')).json().items).toMatchObject([{ name: 'urgent', value: 100 }]);
  });
});

describe('a priority class', () => {
  const job = { name: 'j', division: 'vision', resources: { gpus: 1 }, pools: ['east'], run: 'true' };

  test('gives a job its number when it is booked, which it keeps when the class changes', async () => {
    const booked = (await call('POST', '/v1/jobs', { ...job, priority: 'urgent' })).json();
    expect(booked.spec).toMatchObject({ priority: 100, priorityClass: 'urgent' });
    await call('PUT', '/v1/priority-classes/urgent', { ...v1, kind: 'PriorityClass', name: 'urgent', value: 7 });
    expect((await call('GET', `/v1/jobs/${booked.id}`)).json().spec.priority).toBe(100);
    const later = (await call('POST', '/v1/jobs', { ...job, priority: 'urgent' })).json();
    expect(later.spec.priority).toBe(7);
    for (const { id } of [booked, later]) await call('POST', `/v1/jobs/${id}:cancel`);
  });

  test('that does not exist is refused, booked or planned, and the answer names those that do', async () => {
    for (const path of ['/v1/jobs', '/v1/jobs:plan']) {
      const refused = await call('POST', path, { ...job, priority: 'nothing' });
      expect([path, refused.json()]).toEqual([
        path,
        expect.objectContaining({
          status: 422,
          code: 'unknown_priority_class',
          reasons: [expect.objectContaining({ field: 'priority', mend: 'write a number, or one of urgent' })],
        }),
      ]);
    }
    const planned = (await call('POST', '/v1/jobs:plan', { ...job, priority: 'urgent' })).json();
    expect(planned.verdict).toBe('admit');
    // It may borrow without a limit of its own: what is left is what its groups have.
    expect(planned.offers[0]).toMatchObject({ flavour: 'h100', chosen: true, quotaLeft: '13' });
  });
});

describe('what is in use', () => {
  test('a group with children, and a division with a quota, a budget, jobs or models, cannot be removed', async () => {
    const refused = await call('DELETE', '/v1/groups/research');
    expect(refused.json()).toMatchObject({ status: 409, code: 'in_use' });
    expect(refused.json().reasons.map((reason: { problem: string }) => reason.problem)).toEqual([
      'Division speech names research',
      'Division vision names research',
    ]);
    const vision = (await call('DELETE', '/v1/divisions/vision')).json();
    expect(vision.reasons.map((reason: { problem: string }) => reason.problem)).toEqual([
      'Pool east names vision',
      'Budget vision-USD names vision',
    ]);
  });

  test('a division that nothing rests on is removed, takes no jobs any more, and can be made anew', async () => {
    await call('PUT', '/v1/divisions/idle', division('idle'));
    const job = { name: 'j', division: 'idle', resources: { gpus: 1 }, pools: ['east'], run: 'true' };
    const { id } = (await call('POST', '/v1/jobs', job)).json();
    expect((await call('DELETE', '/v1/divisions/idle')).json()).toMatchObject({
      status: 409,
      reasons: [{ problem: '1 jobs of idle live' }],
    });
    await call('POST', `/v1/jobs/${id}:cancel`);
    expect((await call('DELETE', '/v1/divisions/idle')).statusCode).toBe(200);
    expect((await call('GET', '/v1/divisions/idle')).statusCode).toBe(404);
    expect((await config()).config.divisions.map(({ name }) => name)).toEqual(['speech', 'vision']);
    expect((await call('POST', '/v1/jobs', job)).json()).toMatchObject({ status: 422, code: 'unknown_division' });
    expect((await call('PUT', '/v1/divisions/idle', division('idle'))).statusCode).toBe(201);
    expect((await call('POST', '/v1/jobs', job)).statusCode).toBe(202);
  });

  test('G16: a quota below its use keeps what is used, as drain debt that the answer tells', async () => {
    expect(await take('speech', 3000n)).toBe('ok');
    const less = pool({ quotas: { vision: { h100: 8 }, speech: { h100: { nominal: 1, borrow: 0 } } } });
    const tried = (await call('PUT', '/v1/pools/east?dryRun=true', less)).json();
    expect(tried.drainDebt).toMatchObject([{ kind: 'quota', division: 'speech', flavour: 'h100', amount: '2' }]);
    expect(tried.changes[0].differences).toContainEqual({ field: 'quotas.speech.h100.nominal', from: 4, to: 1 });
    const done = (await call('PUT', '/v1/pools/east', less)).json();
    expect(done.drainDebt).toEqual(tried.drainDebt);
    const { items } = (await call('GET', '/v1/quotas?division=speech&pool=east')).json();
    expect(items.find((row: { flavour: string }) => row.flavour === 'h100')).toMatchObject({
      nominal: '1',
      held: '3',
      borrowed: '2',
      free: '0',
      drainDebt: '2',
    });
    const { items: visions } = (await call('GET', '/v1/quotas?division=vision&pool=east')).json();
    expect(visions.find((row: { flavour: string }) => row.flavour === 'h100')).toMatchObject({
      nominal: '8',
      lent: '2',
    });
  });
});

describe('a pool', () => {
  test('is cordoned, drained and opened again, each told to the planner and the audit trail', async () => {
    const state = async () => {
      const { config: input, draining } = await config();
      return [input.flavours.every((flavour) => flavour.cordoned), draining.has('east')];
    };
    const cordoned = await call('POST', '/v1/pools/east:cordon');
    expect(cordoned.json()).toMatchObject({ name: 'east', state: 'cordoned' });
    expect(await state()).toEqual([true, false]);
    expect((await call('POST', '/v1/pools/east:drain')).json()).toMatchObject({ state: 'draining' });
    expect(await state()).toEqual([true, true]);
    const open = await call('POST', '/v1/pools/east:uncordon');
    expect(open.json()).toMatchObject({ state: 'open' });
    expect(open.headers.etag).toBe((await call('GET', '/v1/pools/east')).headers.etag);
    expect(await state()).toEqual([false, false]);
    const { items } = (await call('GET', '/v1/audit/events?subject=pool/east&limit=100')).json();
    expect(items.slice(-3).map((event: { type: string }) => event.type)).toEqual([
      'pool.cordoned',
      'pool.draining',
      'pool.uncordoned',
    ]);
    expect((await call('POST', '/v1/pools/none:drain')).statusCode).toBe(404);
  });

  test('keeps its state when its file changes', async () => {
    await call('POST', '/v1/pools/east:cordon');
    await call('PUT', '/v1/pools/east', pool({ overcommit: true }));
    expect((await call('GET', '/v1/pools/east')).json().state).toBe('cordoned');
    await call('POST', '/v1/pools/east:uncordon');
  });
});

describe('a budget', () => {
  test('is read back with what is spent and left, and removed only after nobody needs it', async () => {
    const read = await call('GET', '/v1/budgets/vision');
    expect(read.json()).toMatchObject({
      division: 'vision',
      currency: 'USD',
      limit: '100.00',
      spent: '0.00',
      left: '100.00',
    });
    const etag = String(read.headers.etag);
    expect((await call('PUT', '/v1/budgets/vision', budget({ limit: '50.00' }), { 'if-match': etag })).statusCode).toBe(
      200,
    );
    expect((await call('PUT', '/v1/budgets/vision', budget(), { 'if-match': etag })).statusCode).toBe(412);
    expect((await call('DELETE', '/v1/budgets/vision?currency=EUR')).statusCode).toBe(404);
    await call('DELETE', '/v1/budgets/vision');
    expect((await config()).config.divisions.find(({ name }) => name === 'vision')?.budgets).toMatchObject([
      { limitMinor: 0n },
    ]);
    expect((await call('PUT', '/v1/budgets/vision', budget({ limit: '1,000.00' }))).json().status).toBe(422);
  });
});
