import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable, Writable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { run } from '../../api/cli/commands/score.ts';
import { parseSuite } from '../../core/suite.ts';
import type { Database } from '../../platform/postgres.ts';
import { NO_METRICS, type ScoringMetrics } from '../../scoring/context.ts';
import { appendReports } from '../../scoring/ingest/pack-reports.ts';
import { REPORTS_TOPIC } from '../../scoring/ingest/report-log.ts';
import type { OfflineScores } from '../../scoring/offline/score-stream.ts';
import { suiteChecksum } from '../../scoring/read/checksum.ts';
import { addVersion, retireVersion } from '../../scoring/registry/models.ts';
import { applySuite } from '../../scoring/registry/suites.ts';
import {
  BAD_LINE,
  BAD_START_MS,
  BAD_SUITE,
  GOOD,
  GOOD_LINES,
  goodReport,
  keptOf,
  REFUSED_LINES,
  refusedByTheConsumer,
  uploadOfAll,
  uploadWith,
} from '../support/bad-reports.ts';
import { asAdmin, type TestDatabase, testDatabase } from '../support/db.ts';
import { type Harness, harness, newTenant, referenceChecksum, register, TRACE } from './scoring-online-support.ts';

const TRACEPARENT = `00-${TRACE}-b7ad6b7169203331-01`;
const IN_THE_LOG = [...REFUSED_LINES, ...refusedByTheConsumer(Date.now())];
const NOTHING = { accepted: 0, quarantined: 0, duplicates: 0, conflicts: 0, late_archived: 0 };
const EXPECTED = referenceChecksum(BAD_SUITE, GOOD);
const bytesOf = (report: object) => Buffer.from(JSON.stringify(report));
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

/** A row that is no line to refuse: what is sent, and what must come of it. */
interface Reaction {
  readonly row: string;
  readonly lines?: readonly Uint8Array[];
  /** Beside the upload, as messages of the log. */
  readonly messages?: readonly { readonly value: Uint8Array | null; readonly key?: string }[];
  readonly traceparent?: string;
  readonly counts: Partial<typeof NOTHING>;
  /** Reports that must have counted beside the good ones. */
  readonly also?: readonly object[];
  readonly reasons?: readonly string[];
}

const again = goodReport(7);
const extra = (overrides: object) => goodReport(9999, overrides);

const REACTIONS: readonly Reaction[] = [
  { row: 'K01 a tombstone', messages: [{ value: null }], counts: { quarantined: 1 }, reasons: ['tombstone'] },
  {
    row: 'K02 a zero-byte message',
    messages: [{ value: Buffer.alloc(0) }],
    counts: { quarantined: 1 },
    reasons: ['empty'],
  },
  {
    row: 'K16 one report 1,000 times',
    lines: Array.from({ length: 999 }, () => bytesOf(again)),
    counts: { duplicates: 999 },
  },
  {
    row: 'K17 the same id with other content',
    lines: [bytesOf({ ...goodReport(3), metrics: { accuracy: 0.001 } })],
    counts: { conflicts: 1 },
    reasons: ['conflict'],
  },
  {
    row: 'K18 the same id of another producer',
    lines: [bytesOf({ ...again, producer: 'somebody-else' })],
    counts: { accepted: 1 },
    also: [{ ...again, producer: 'somebody-else' }],
  },
  {
    row: 'K21 a message without a key',
    messages: [{ value: bytesOf(extra({})), key: '' }],
    counts: { accepted: 1 },
    also: [extra({})],
  },
  {
    row: 'K26 minus zero',
    lines: [Buffer.from(JSON.stringify(extra({ metrics: { accuracy: 0 } })).replace(':0}', ':-0.0}'))],
    counts: { accepted: 1 },
    also: [extra({ metrics: { accuracy: 0 } })],
  },
  {
    row: 'K27 the least denormal',
    lines: [bytesOf(extra({ metrics: { accuracy: 5e-324 } }))],
    counts: { accepted: 1 },
    also: [extra({ metrics: { accuracy: 0 } })],
  },
  {
    row: 'K31 a report of 1970',
    lines: [bytesOf(extra({ observedAt: '1970-01-01T00:00:00Z' }))],
    counts: { accepted: 1, late_archived: 1 },
  },
  {
    row: 'K33 an older report after newer ones',
    lines: [bytesOf(extra({ observedAt: new Date(BAD_START_MS).toISOString() }))],
    counts: { accepted: 1 },
    also: [extra({ observedAt: new Date(BAD_START_MS).toISOString() })],
  },
  {
    row: 'K46 a malformed trace header',
    lines: [bytesOf({})],
    traceparent: `00-${'0'.repeat(31)}\u0001-x`,
    counts: { quarantined: 1 },
    reasons: ['schema'],
  },
];

let base: TestDatabase;
let h: Harness;
const rejected = new Map<string, number>();
const metrics: ScoringMetrics = {
  ...NO_METRICS,
  rejected: (code, count) => rejected.set(code, (rejected.get(code) ?? 0) + count),
};

/** One upload holds every refused line: none may cost its neighbours anything. */
const REFUSED = uploadOfAll(IN_THE_LOG.map(({ line }) => line));
const REFUSED_TENANT = 'refused';
/** Of the other rows each has a tenant of its own: k01, k02, k16 … */
const tenantOf = (row: string) => row.slice(0, 3).toLowerCase();

async function untouched(): Promise<unknown> {
  return base.db.asEngine((tx) =>
    tx.query(
      `select (select count(*) from audit_events) as audit, (select count(*) from transfers) as transfers,
              (select count(*) from bookings) as bookings, (select count(*) from decisions) as decisions`,
    ),
  );
}

let before: unknown;
let setAside: readonly QuarantineRow[];

beforeAll(async () => {
  base = await testDatabase();
  h = await harness(base);
  const send = async (tenant: string, upload: Uint8Array, traceparent: string) => {
    const by = await newTenant(base, tenant);
    await register(base.db, by, BAD_SUITE, ['ranker-v1', 'retired-v1']);
    await base.db.asTenant(tenant, (tx) => retireVersion(tx, by, 'ranker', 'retired-v1'));
    await appendReports(h.log, [upload], { tenant, producer: undefined, traceparent });
  };
  await send(REFUSED_TENANT, REFUSED.upload, TRACEPARENT);
  for (const { row, lines = [], messages = [], traceparent = TRACEPARENT } of REACTIONS) {
    const tenant = tenantOf(row);
    await send(tenant, uploadWith(...lines), traceparent);
    for (const { value, key = tenant } of messages)
      await h.log.append({ tenant, topic: REPORTS_TOPIC, key, value, headers: {} });
  }
  before = await untouched();
  await h.drain(h.context({ metrics }));
  // A consumer that starts again from Postgres finds nothing to do twice.
  await h.drain(h.context({ metrics }));
  setAside = await quarantineOf(REFUSED_TENANT);
});
afterAll(async () => {
  await h.log.close();
  await base.close();
});

async function countsOf(tenant: string): Promise<typeof NOTHING> {
  const rows = await base.db.asTenant(tenant, (tx) =>
    tx.query<{ [name in keyof typeof NOTHING]: bigint }>(
      `select sum(accepted)::bigint as accepted, sum(quarantined)::bigint as quarantined, sum(duplicates)::bigint as duplicates,
              sum(conflicts)::bigint as conflicts, sum(late_archived)::bigint as late_archived from input_counters`,
    ),
  );
  return Object.fromEntries(Object.entries(rows[0]!).map(([name, n]) => [name, Number(n)])) as typeof NOTHING;
}

interface QuarantineRow {
  readonly reason: string;
  readonly field: string;
  readonly position: number;
  readonly problem: string;
  readonly upload_line: number;
  readonly raw: Buffer;
  readonly raw_size: bigint;
  readonly raw_sha256: string;
  readonly trace_id: string;
}

const quarantineOf = (tenant: string) =>
  base.db.asTenant(tenant, (tx) =>
    tx.query<QuarantineRow>(
      `select q.reason, q.field, q.position, q.problem, q.raw, q.raw_size, q.raw_sha256, q.trace_id,
              q.line + (m.headers ->> 'first-line')::integer - 1 as upload_line
       from quarantine q join log_messages m on (m.topic, m.partition, m.log_offset) = (q.topic, q.partition, q.log_offset)`,
    ),
  );

const checksumOf = (tenant: string) => base.db.asTenant(tenant, (tx) => suiteChecksum(tx, tenant, BAD_SUITE.name));

describe('in the log', () => {
  test.each(IN_THE_LOG.map((bad, i) => ({ ...bad, place: REFUSED.places[i]! })))(
    '$row is set aside once, with its place, reason and bytes',
    ({ place, ...bad }) => {
      const rows = setAside.filter((one) => one.upload_line === place);
      expect(rows).toHaveLength(1);
      const [{ raw, problem, ...row }] = rows as [QuarantineRow];
      expect(row).toEqual({
        reason: bad.code,
        field: bad.field,
        position: bad.position,
        upload_line: place,
        raw_size: BigInt(bad.line.length),
        raw_sha256: sha256(bad.line),
        trace_id: TRACE,
      });
      expect(raw.equals(keptOf(bad))).toBe(true);
      expect(problem).toMatch(/^[a-z].{5,100}$/);
    },
  );

  test('all the good lines between the bad ones count, and nothing else', async () => {
    const counts = { ...NOTHING, accepted: GOOD_LINES, quarantined: IN_THE_LOG.length };
    expect(await countsOf(REFUSED_TENANT)).toEqual(counts);
    expect(setAside).toHaveLength(IN_THE_LOG.length);
    expect(await checksumOf(REFUSED_TENANT)).toBe(EXPECTED);
  });

  test.each(REACTIONS)(
    '$row gets its reaction, and the other 999 count',
    async ({ row, counts, also, reasons = [] }) => {
      const tenant = tenantOf(row);
      expect(await countsOf(tenant)).toEqual({ ...NOTHING, ...counts, accepted: GOOD_LINES + (counts.accepted ?? 0) });
      const rows = await quarantineOf(tenant);
      expect(rows.map((one) => one.reason)).toEqual(reasons);
      for (const { trace_id } of rows) expect(trace_id).toMatch(/^(?!0{32})[0-9a-f]{32}$/);
      const expected = also === undefined ? EXPECTED : referenceChecksum(BAD_SUITE, [...GOOD, ...also]);
      expect(await checksumOf(tenant)).toBe(expected);
    },
  );

  test('each line that was set aside is counted once under its code, and neither ledger nor audit trail moves', async () => {
    const expected = new Map<string, number>();
    const codes = [...IN_THE_LOG.map((one) => one.code), ...REACTIONS.flatMap((one) => one.reasons ?? [])];
    for (const code of codes) expected.set(code, (expected.get(code) ?? 0) + 1);
    expect(Object.fromEntries(rejected)).toEqual(Object.fromEntries(expected));
    expect(await untouched()).toEqual(before);
  });

  test('the id of a refused report stays free for a corrected one', async () => {
    await h.send(REFUSED_TENANT, `${JSON.stringify(extra({}))}\n`);
    await h.drain();
    expect(await checksumOf(REFUSED_TENANT)).toBe(referenceChecksum(BAD_SUITE, [...GOOD, extra({})]));
  });

  test('K36 a report that is parked is read again once its model or suite is registered, and set aside for good where it fails again', async () => {
    const tenant = 'k36';
    const by = await newTenant(base, tenant);
    const later = parseSuite({ ...BAD_SUITE.document, name: 'later' });
    const [known, broken] = [
      extra({ model: 'nobody' }),
      extra({ model: 'nobody', reportId: 'broken', metrics: { accuracy: 7 } }),
    ];
    const early = goodReport(1, { suite: 'later', reportId: 'early' });
    await register(base.db, by, BAD_SUITE, ['ranker-v1']);
    await appendReports(h.log, [uploadWith(bytesOf(known), bytesOf(broken), bytesOf(early))], {
      tenant,
      producer: 'ci-eval',
      traceparent: TRACEPARENT,
    });
    await h.drain();
    const reasons = async () => (await quarantineOf(tenant)).map((row) => row.reason).sort();
    expect(await reasons()).toEqual(['unknown_model', 'unknown_model', 'unknown_suite']);
    await base.db.asTenant(tenant, async (tx) => {
      await addVersion(tx, by, { model: 'ranker', version: 'nobody' });
      await applySuite(tx, by, later);
    });
    // The consumer dies behind the append and before it has marked what it sent: the lines come twice, and count once.
    let deaths = 0;
    const asFenced: Database['asFenced'] = (fence, work) =>
      base.db.asFenced(fence, async (tx) => {
        const done = await work({
          ...tx,
          execute: async (sql, values) => {
            if (sql.includes('set resend = false') && deaths++ === 0) throw new Error('the consumer died');
            return tx.execute(sql, values);
          },
        });
        return done;
      });
    await expect(h.drain(h.context({ db: { ...base.db, asFenced } }))).rejects.toThrow('the consumer died');
    await h.drain();
    expect(await countsOf(tenant)).toEqual({ ...NOTHING, accepted: GOOD_LINES + 2, quarantined: 5, duplicates: 2 });
    expect(await reasons()).toEqual(['unknown_model', 'unknown_model', 'unknown_suite', 'valid', 'valid']);
    expect(await checksumOf(tenant)).toBe(referenceChecksum(BAD_SUITE, [...GOOD, known]));
    const traces = (await quarantineOf(tenant)).map((row) => row.trace_id);
    expect(new Set(traces)).toEqual(new Set([TRACE]));
    await h.drain();
    expect(await reasons()).toHaveLength(5);
  });

  test('K47 a message whose handling always fails is set aside at the third try, and the lines behind it count', async () => {
    const tenant = 'k47';
    const by = await newTenant(base, tenant);
    await register(base.db, by, BAD_SUITE, ['ranker-v1', 'sick-v1']);
    await asAdmin(
      base.urls.admin,
      `create sequence tries; grant usage on tries to public;
       create function fail_here() returns trigger language plpgsql as $$ begin
         if new.model = 'sick-v1' then perform nextval('tries'); raise exception 'the test refuses this series'; end if; return new; end $$;
       create trigger fail_here before insert on series for each row execute function fail_here();`,
    );
    try {
      await h.send(tenant, JSON.stringify(extra({ model: 'sick-v1' })));
      await h.send(tenant, GOOD.map((report) => `${JSON.stringify(report)}\n`).join(''));
      await h.drain();
      const [tries] = await asAdmin(base.urls.admin, 'select last_value from tries');
      expect(Number(tries?.last_value)).toBe(3);
    } finally {
      await asAdmin(
        base.urls.admin,
        'drop trigger fail_here on series; drop function fail_here(); drop sequence tries',
      );
    }
    expect(await countsOf(tenant)).toEqual({ ...NOTHING, accepted: GOOD_LINES, quarantined: 1 });
    expect((await quarantineOf(tenant)).map((row) => row.reason)).toEqual(['handler_failed']);
    expect(await checksumOf(tenant)).toBe(EXPECTED);
  });
});

describe('offline', () => {
  const folder = mkdtempSync(join(tmpdir(), 'merit-bad-'));
  const suite = join(folder, 'suite.json');
  writeFileSync(suite, JSON.stringify(BAD_SUITE.document));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  async function score(
    upload: Uint8Array,
  ): Promise<{ readonly scores: OfflineScores; readonly told: readonly unknown[] }> {
    const [stdout, stderr] = [new Sink(), new Sink()];
    const at = new Date(BAD_START_MS + 3_600_000).toISOString();
    const options = { suite, reports: ['-'], at, output: 'json' };
    expect(await run(options, { stdin: Readable.from([upload]), stdout, stderr })).toBe(0);
    const told = stderr.text.split('\n').filter((line) => line !== '');
    return { scores: JSON.parse(stdout.text) as OfflineScores, told: told.map((line) => JSON.parse(line) as unknown) };
  }

  const good = score(uploadWith());

  test.each(REFUSED_LINES)('$row is told with its line, place and reason, and the other 999 count', async (bad) => {
    const { scores, told } = await score(uploadWith(bad.line));
    expect(scores).toEqual({ ...(await good).scores, quarantined: 1 });
    const where = bad.field === '' ? '' : `${bad.field} `;
    expect(told).toEqual([{ line: BAD_LINE, reason: expect.stringMatching(/.{10,200}/) as string }]);
    // A line past the limit is refused where the limit is, unread.
    const position = bad.code === 'too_large' ? '' : `at byte ${bad.position} `;
    expect(JSON.stringify(told)).toContain(`"${bad.code}: ${where}${position}`);
  });

  test.each(REACTIONS.filter(({ lines, traceparent }) => lines !== undefined && traceparent === undefined))(
    '$row gets its reaction, and the other 999 count',
    async ({ lines = [], counts, also, reasons = [] }) => {
      const { scores, told } = await score(uploadWith(...lines));
      const { late_archived, ...rest } = { ...NOTHING, ...counts };
      expect(scores).toMatchObject({ ...rest, accepted: GOOD_LINES + rest.accepted });
      expect(told).toHaveLength(reasons.length);
      const expected = await score(uploadWith(...(also ?? []).map(bytesOf)));
      // What lies outside every window enters no score.
      expect(scores.models).toEqual(expected.scores.models);
      expect(late_archived === 1 || scores.checksum === expected.scores.checksum).toBe(true);
    },
  );
});

class Sink extends Writable {
  text = '';
  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.text += chunk.toString();
    done();
  }
}
