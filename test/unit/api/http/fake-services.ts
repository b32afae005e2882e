import { Readable } from 'node:stream';
import { setTimeout } from 'node:timers/promises';
import type { Denial, Services, View } from '../../../../api/http/services.ts';
import { tokenIdentifier } from '../../../../api/http/token.ts';
import type { CopyTx, Database } from '../../../../platform/postgres.ts';

export const TOKEN = 'a-token-of-the-tests-0123456789';
export const JOB_ID = '01k00000000000000000000000';

/** Rows of idempotency_keys, enough of Postgres for the one upsert that the server makes; the real one is in test/integration. */
class KeyTable {
  readonly rows = new Map<string, Record<string, unknown>>();
  hits = 0;

  tx(): CopyTx {
    return {
      query: async <R extends object>(sql: string, values: readonly unknown[] = []) => {
        if (!sql.includes('idempotency_keys')) return [] as readonly R[];
        const [tenant, key, route, bodyHash] = values as string[];
        const id = `${tenant} ${key}`;
        const before = this.rows.get(id);
        if (before !== undefined) {
          this.hits++;
          return [{ ...before, fresh: false } as unknown as R];
        }
        const row = { route, body_hash: bodyHash, status: null, headers: null, reply: null };
        this.rows.set(id, row);
        return [{ ...row, fresh: true } as unknown as R];
      },
      execute: async (_sql, values = []) => {
        const [tenant, key, status, headers, reply] = values;
        const row = this.rows.get(`${String(tenant)} ${String(key)}`);
        if (row === undefined) return 0;
        Object.assign(row, { status, headers: JSON.parse(String(headers)), reply });
        return 1;
      },
      copyOut: async () => Buffer.alloc(0),
    };
  }

  async transaction<T>(work: (tx: CopyTx) => Promise<T>): Promise<T> {
    const before = new Map([...this.rows].map(([key, row]) => [key, { ...row }]));
    try {
      return await work(this.tx());
    } catch (error) {
      this.rows.clear();
      for (const [key, row] of before) this.rows.set(key, row);
      throw error;
    }
  }
}

export interface Fake {
  readonly services: Services;
  readonly keys: KeyTable;
  readonly rejected: string[];
  readonly requests: string[];
  readonly errors: object[];
  readonly denied: Denial[];
  submitted: number;
  readonly appended: string[];
}

const nothing = async () => undefined;

/** Services that hold one job and no scores; `override` replaces any of them. */
export function fakeServices(override: Partial<Services> = {}): Fake {
  const keys = new KeyTable();
  const fake: Fake = {
    services: undefined as never,
    keys,
    rejected: [],
    requests: [],
    errors: [],
    denied: [],
    submitted: 0,
    appended: [],
  };
  const db: Database = {
    asTenant: (_tenant, work) => keys.transaction(work),
    asEngine: (work) => keys.transaction(work),
    asLeader: (_epoch, work) => keys.transaction(work),
    asFenced: (_fence, work) => keys.transaction(work),
    close: async () => {},
  };
  const job: View = { id: JOB_ID, name: 'train', state: 'waiting', reasons: [] };
  const services: Services = {
    version: '0.0.0-test',
    // A wait is short, but one: what follows something forever has to let others in.
    clock: { now: () => 1_764_000_000_000, sleep: async () => void (await setTimeout(1)) },
    db,
    log: { info: () => {}, warn: () => {}, error: (fields) => void fake.errors.push(fields) },
    metrics: {
      request: (route, method, statusClass) => void fake.requests.push(`${method} ${route} ${statusClass}`),
      rejected: (code) => void fake.rejected.push(code),
      streams: () => {},
      streamEnded: () => {},
      expose: async () => ({ contentType: 'text/plain; version=0.0.4', body: 'merit_up 1\n' }),
    },
    cursorSecret: Buffer.alloc(32, 7),
    allowedHosts: [],
    identify: tokenIdentifier(TOKEN, {
      principal: 'token:test',
      tenant: 'acme',
      functions: ['read', 'submit', 'report', 'operate', 'audit'],
      producers: 'any',
    }),
    denied: (denial) => void fake.denied.push(denial),
    limitRate: async () => ({ allowed: true, limit: 9, remaining: 8, resetMs: 0, retryAfterMs: 0 }),
    readiness: async () => [{ name: 'database', ok: true, detail: 'answers' }],
    jobs: {
      prepare: async () => {},
      submit: async () => {
        fake.submitted++;
        return { ...job, serial: fake.submitted };
      },
      requestMoney: async () => job,
      closeMoney: async (_tx, _caller, id) => (id === JOB_ID ? { kind: 'closed', view: job } : undefined),
      cancel: async (_tx, _caller, id) => (id === JOB_ID ? { kind: 'asked', view: job } : undefined),
      top: async () => ({ flavours: [], divisions: [] }),
      hold: async (_tx, _caller, id) => (id === JOB_ID ? { kind: 'done', view: job } : undefined),
      retry: async (_tx, _caller, id) => (id === JOB_ID ? { kind: 'booked', view: job } : undefined),
      extend: async (_tx, _caller, id) => (id === JOB_ID ? { kind: 'asked', view: job } : undefined),
      plan: async () => ({ offers: [] }),
      list: async (_tx, _caller, _filter, page) => ({
        items: [job],
        last: page.after === undefined ? 'k1' : undefined,
      }),
      get: async (_tx, _caller, id) => (id === JOB_ID ? job : undefined),
      why: nothing,
      events: nothing,
      artifacts: nothing,
      cost: nothing,
      metrics: nothing,
      logs: nothing,
      logTail: nothing,
      verify: nothing,
      receipt: nothing,
    },
    artifacts: {
      file: nothing,
      open: async () => Readable.from([]),
      collect: async function* () {},
    },
    proposals: {
      list: async () => ({ items: [], last: undefined }),
      get: nothing,
      ofAllocation: async () => [],
      propose: async () => ({ kind: 'proposed', view: { id: 'p1' } }),
      revoke: nothing,
      sign: nothing,
      refused: () => {},
    },
    replays: {
      start: async () => ({ kind: 'created', view: { id: 'r' } }),
      list: async () => ({ items: [], last: undefined }),
      get: nothing,
      diff: nothing,
      verification: nothing,
      cancel: nothing,
    },
    quarantine: {
      list: async () => ({ items: [], last: undefined }),
      get: nothing,
      redrive: async () => ({ redriven: 0 }),
    },
    reports: {
      refusal: () => undefined,
      append: async (_caller, report) => {
        fake.appended.push(report.reportId);
        return { kind: 'accepted', view: { accepted: 1 } };
      },
      appendStream: async (_caller, body) => {
        let bytes = 0;
        for await (const chunk of body) bytes += chunk.length;
        return { bytes };
      },
    },
    scoring: {
      scores: nothing,
      explain: nothing,
      history: async () => ({ items: [], last: undefined }),
      compute: async () => ({}),
      leaderboard: nothing,
      suites: async () => ({ items: [], last: undefined }),
      suite: async () => ({ version: '3', view: { name: 's' } }),
      putSuite: async (_tx, _caller, _name, _document, ifVersion) =>
        ifVersion === undefined || ifVersion === '3'
          ? { kind: 'replaced', version: '4', view: { name: 's' } }
          : { kind: 'stale', version: '3' },
      promotions: async () => ({ items: [], last: undefined }),
      promotion: nothing,
      models: async () => ({ items: [], last: undefined }),
      model: nothing,
      putModel: async () => ({ kind: 'created', version: '1', view: {} }),
      versions: nothing,
      putAlias: async () => ({}),
      putVersion: async () => ({}),
      retrain: async () => ({ kind: 'raised', view: {} }),
      retrains: async () => [],
    },
    rollouts: {
      rollout: nothing,
      putRollout: async () => ({ kind: 'created', version: '1', view: {} }),
      promote: nothing,
      rollBack: nothing,
      diff: nothing,
      claimHistory: nothing,
      mergeHistory: nothing,
      releaseHistory: async () => ({ partitions: 0 }),
    },
    pools: {
      pools: async () => ({ items: [], last: undefined }),
      pool: nothing,
      etaRecord: nothing,
      setPoolState: nothing,
      quotas: async () => [],
      capacity: nothing,
    },
    documents: {
      list: async () => ({ items: [], last: undefined }),
      get: nothing,
      put: async () => ({ kind: 'created', version: '1', view: {} }),
      remove: async () => ({ kind: 'not_found' }),
      apply: async () => ({ kind: 'done', view: {} }),
    },
    audit: {
      events: async () => ({ items: [], last: undefined }),
      roots: async () => ({}),
      exportBundle: async function* () {},
      exportState: async function* () {},
      witness: async () => ({}),
      pushWitness: async () => ({}),
      witnessRecords: async function* () {},
      keys: async () => [],
      rotateKey: async () => ({}),
    },
    finops: {
      month: async () => ({}),
      focus: async function* () {},
    },
    events: {
      now: async () => '1.0-0',
      after: async () => ({ events: [], position: '1.0-0', more: false }),
      head: async () => '',
    },
    code: { put: async (_caller, packed) => ({ code: `code:${packed.length}` }) },
    ...override,
  };
  return Object.assign(fake, { services });
}
