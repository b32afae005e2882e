import type { MetricRule, Suite } from '../../../core/suite.ts';
import { peerModule } from './install.ts';

/**
 * The job of a recompute in DuckDB's SQL: read the file, check each report, keep the first of each id, sum by model and minute. What it does
 * less: it takes `"0.5"` for a number, does not look at labels, keys that come twice or names of unknown metrics, and the wide panes,
 * a sum over its rows, are left to whoever asks.
 */

interface DuckModule {
  readonly DuckDBInstance: {
    create(path: string, options: Readonly<Record<string, string>>): Promise<{ connect(): Promise<Connection> }>;
  };
  readonly version: () => string;
}

interface Connection {
  run(sql: string): Promise<unknown>;
  runAndReadAll(sql: string): Promise<{ getRowObjects(): Record<string, unknown>[] }>;
  closeSync(): void;
}

export interface DuckDb {
  readonly version: string;
  /** A row a (model, minute): n, and of each metric i its count n_i, Σwq as a_i, Σwq² as b_i, extremes, and where asked for its buckets. */
  panes(path: string, suite: Suite, options: { readonly sketches: boolean }): Promise<Record<string, unknown>[]>;
  close(): void;
}

export async function openDuckDb(): Promise<DuckDb | string> {
  const duck = await peerModule<DuckModule>('@duckdb/node-api');
  if (typeof duck === 'string') return duck;
  const instance = await duck.DuckDBInstance.create(':memory:', { threads: '2' });
  const connection = await instance.connect();
  // Version 1.5.6 fails by an assertion of its own where this one meets a struct.
  await connection.run("set disabled_optimizers = 'top_n_window_elimination'");
  return {
    version: duck.version(),
    panes: async (path, suite, { sketches }) =>
      (await connection.runAndReadAll(panesSql(path, suite, sketches))).getRowObjects(),
    close: () => connection.closeSync(),
  };
}

const NAME = "'[A-Za-z0-9._-]{1,64}'";

function panesSql(path: string, { metrics, name }: Suite, sketches: boolean): string {
  const members = metrics.map((rule) => `${rule.name} double`).join(', ');
  const sums = metrics.map((rule, i) => sumsOf(rule, i, sketches)).join(', ');
  return `
    with lines as (
      select row_number() over () as line, schemaVersion, reportId, producer, model, suite, try_cast(observedAt as timestamptz) as seen,
             coalesce(sampleSize, 1) as w, metrics
      from read_json('${path}', format = 'newline_delimited', ignore_errors = true, columns = {
        schemaVersion: 'integer', reportId: 'varchar', producer: 'varchar', model: 'varchar', suite: 'varchar', observedAt: 'varchar',
        sampleSize: 'double', metrics: 'struct(${members})'})),
    checked as (
      select * from lines
      where schemaVersion = 1 and suite = '${name}' and regexp_full_match(reportId, ${NAME}) and regexp_full_match(producer, ${NAME})
        and regexp_full_match(model, ${NAME}) and seen is not null and w = floor(w) and w between 1 and 1048576 and metrics is not null
        ${metrics.map(isGood).join(' ')}
      qualify row_number() over (partition by producer, reportId order by line) = 1)
    select model, epoch_ms(seen) // 60000 as minute, count(*) as n, sum(w::bigint) as weight, ${sums} from checked group by 1, 2`;
}

function isGood({ factor, name, valid }: MetricRule): string {
  const range = valid === null ? '' : ` and metrics.${name} between ${valid[0]} and ${valid[1]}`;
  return `and (metrics.${name} is null or (abs(metrics.${name} * ${factor}) <= 1099511627776${range}))`;
}

function sumsOf({ factor, name }: MetricRule, i: number, sketches: boolean): string {
  const q = `round_even(metrics.${name} * ${factor}, 0)::bigint`;
  const bucket = `case when ${q} = 0 then 0 else ceil(ln(${q}) / ln(101 / 99))::integer + 1 end`;
  return [
    `count(metrics.${name}) as n_${i}`,
    `sum(w::bigint * ${q})::hugeint as a_${i}`,
    `sum((w::bigint * ${q})::hugeint * ${q}) as b_${i}`,
    `min(${q}) as low_${i}`,
    `max(${q}) as high_${i}`,
    ...(sketches ? [`histogram(${bucket}) as buckets_${i}`] : []),
  ].join(', ');
}
