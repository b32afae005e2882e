import type { Suite } from '../../core/suite.ts';
import type { Database } from '../../platform/postgres.ts';
import type { ConsumerContext } from '../../scoring/context.ts';
import { Consumer } from '../../scoring/ingest/consumer.ts';
import { parseModel } from '../../scoring/registry/model-document.ts';
import { addVersion, registerModel } from '../../scoring/registry/models.ts';
import { putRollout } from '../../scoring/registry/rollouts.ts';
import { applySuite, type Requester } from '../../scoring/registry/suites.ts';
import { checksumOf, checksumRows } from '../../scoring/rules/checksum.ts';
import type { PublishedModel } from '../../scoring/rules/published.ts';
import { EPOCH_MS, type Harness, parseSuite, READER, random, type TestReport } from './scoring-online-support.ts';

export const TICK_MS = 15 * 60_000;
/** Five reports of each model a tick. */
const STEP_MS = 3 * 60_000;

const document = {
  apiVersion: 'merit/v1',
  kind: 'Suite',
  name: 'board',
  tick: '15m',
  windows: { '1h': 1 },
  minN: 5,
  shrinkage: { kappa: 0 },
  metrics: { accuracy: { direction: 'higher', floor: 0, ceil: 1, required: true, valid: [-1, 2] } },
  promotion: { promoteAbove: 0.8, promoteTicks: 2, demoteBelow: 0.5, demoteTicks: 2, cooldown: '5m' },
};

type Changes = Partial<Omit<typeof document, 'metrics' | 'promotion'>> & {
  readonly metric?: object;
  readonly promotion?: object;
};

/** The suite of these tests with changes. */
export function boardSuite({ metric, promotion, ...rest }: Changes = {}): Suite {
  return parseSuite({
    ...document,
    ...rest,
    metrics: { accuracy: { ...document.metrics.accuracy, ...metric } },
    promotion: { ...document.promotion, ...promotion },
  });
}

/** The version that is active, and a new one that scores more strictly and promotes after one tick. */
export const OLD = boardSuite();
export const STRICT = boardSuite({ metric: { floor: 0.5 }, promotion: { promoteTicks: 1 } });

/** `count` reports of each model, in order of event time; a model's reports are around its level. */
export function boardReports(levels: Readonly<Record<string, number>>, count: number, from = 0): TestReport[] {
  return Array.from({ length: count }, (_, i) =>
    Object.entries(levels).map(([model, level], m) => {
      const next = random((from + i) * 100 + m + 1);
      return {
        schemaVersion: 1 as const,
        reportId: `${model}-${from + i}`,
        producer: 'ci',
        model,
        suite: 'board',
        observedAt: new Date(EPOCH_MS + (from + i) * STEP_MS + m).toISOString(),
        sampleSize: 1 + Math.floor(next() * 9),
        metrics: { accuracy: level + (next() - 0.5) * 0.1 },
      };
    }),
  ).flat();
}

/** A suite with every model in the contest. */
export async function registerBoard(
  db: Database,
  by: Requester,
  suite: Suite,
  models: readonly string[],
): Promise<void> {
  await db.asTenant(by.tenant, async (tx) => {
    await applySuite(tx, by, suite);
    const model = { apiVersion: 'merit/v1', kind: 'Model', name: 'ranker', division: 'vision', suite: suite.name };
    await registerModel(tx, by, parseModel(model));
    for (const version of models) await addVersion(tx, by, { model: 'ranker', version });
  });
}

export function beside(db: Database, by: Requester, suite: Suite, share = 0, forced = false) {
  return db.asTenant(by.tenant, (tx) => putRollout(tx, by, suite.name, suite, { share, forced }));
}

/** One consumer that lives on from drain to drain, as a server's does; another context takes its place. */
export function livingConsumer(h: Harness): (ctx?: ConsumerContext) => Promise<void> {
  let consumer: Consumer | undefined;
  const { signal } = new AbortController();
  return async (ctx) => {
    if (ctx !== undefined) consumer = undefined;
    const running = consumer ?? new Consumer(ctx ?? h.context(), READER);
    // What a round takes up at its end is done in the next one.
    while ((await running.step(signal)) || (await running.step(signal)));
    consumer = ctx === undefined ? running : undefined;
  };
}

/** Everything scored under a version, published or not, without what tells when it was done. */
export function scoresUnder(db: Database, tenant: string, suite: Suite, fromMs = 0) {
  return db.asTenant(tenant, (tx) =>
    tx.query<{ tick_ms: bigint; model: string; published: boolean; body: PublishedModel }>(
      `select tick_ms, model, published, status, rank, composite, lower, upper, body from scores
       where suite_hash = $1 and tick_ms >= $2 order by tick_ms, model`,
      [suite.hash, fromMs],
    ),
  );
}

/** The checksum of everything scored under a version, published or not. */
export async function checksumUnder(db: Database, tenant: string, suite: Suite): Promise<string> {
  const rows = await scoresUnder(db, tenant, suite);
  return checksumOf(rows.flatMap((row) => checksumRows(suite, Number(row.tick_ms), row.body)));
}

/** What the watches of a version have counted, by when they began. */
export function evidenceUnder(db: Database, tenant: string, suite: Suite) {
  return db.asTenant(tenant, (tx) =>
    tx.query(
      `select w.model as watched, w.role, w.start_ms, w.run, w.closed_tick_ms, e.model, e.metric, e.tick_ms, e.n, e.weight, e.sum_ws, e.sum_ws2, e.beyond
       from watches w left join evidence_sums e using (watch_id) where w.suite_hash = $1
       order by w.start_ms nulls first, w.model, w.role, e.model, e.metric, e.tick_ms`,
      [suite.hash],
    ),
  );
}

/** Every pane of a version. */
export function panesUnder(db: Database, tenant: string, suite: Suite) {
  return db.asTenant(tenant, (tx) =>
    tx.query(
      `select s.model, s.metric, p.resolution, p.start_ms, p.n, p.weight, p.sum_wq, p.sum_wq2, p.q_min, p.q_max from series s join panes p using (series_id) where s.suite_hash = $1 order by 1, 2, 3, 4`,
      [suite.hash],
    ),
  );
}
