import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createReportKernel, panesOf } from '../../scoring/report-kernel.ts';
import { BATCH_BYTES, CORPUS_REPORTS, type Corpus, corpusSuite, makeCorpus } from './corpus.ts';
import { each, median, type Row, ratioOf, row, takeTurns } from './harness.ts';
import { type DuckDb, openDuckDb } from './peers/duckdb.ts';

/** Batch recompute: a file of reports, each checked and the first of each id kept, into panes. CPU of all threads. */

const FLOOR = 2;
const AIM = 3;
const ROUNDS = 7;
const COMMAND = 'npm run bench -- recompute';
const suite = corpusSuite();

export async function recomputeRows(reports = CORPUS_REPORTS): Promise<readonly Row[]> {
  const what = 'batch recompute with full validation against DuckDB';
  const duck = await openDuckDb();
  if (typeof duck === 'string') {
    return [row({ what, value: null, floor: FLOOR, aim: AIM, detail: `skipped: ${duck}`, command: COMMAND })];
  }
  const corpus = makeCorpus({ reports });
  const folder = mkdtempSync(join(tmpdir(), 'merit-bench-'));
  const path = join(folder, 'reports.ndjson');
  try {
    writeFileSync(path, Buffer.concat(corpus.batches));
    await compare(path, corpus, duck);
    const run = async (sketches: boolean) => void (await duck.panes(path, suite, { sketches }));
    const times = await takeTurns(
      [
        { name: 'ours', pass: () => void native(path) },
        { name: 'duckdb', pass: () => run(false) },
        { name: 'sketches', pass: () => run(true) },
      ],
      ROUNDS,
      1,
    );
    const figure = (name: string) => `${each(median(times.get(name)!), corpus.lines)} a report`;
    return [
      row({
        what,
        value: ratioOf(times, 'ours', 'duckdb'),
        floor: FLOOR,
        aim: AIM,
        detail: `ours, with sketches and three sizes of panes, ${figure('ours')}; DuckDB ${duck.version}, minutes only ${figure('duckdb')}, with a histogram a metric ${figure('sketches')}`,
        limit: 'DuckDB reads the named members only, and skips what ours validates',
        command: COMMAND,
      }),
    ];
  } finally {
    duck.close();
    rmSync(folder, { recursive: true });
  }
}

function native(path: string) {
  const kernel = createReportKernel([suite], { digests: false });
  const chunk = Buffer.allocUnsafe(BATCH_BYTES);
  const file = openSync(path, 'r');
  try {
    for (let read = readSync(file, chunk); read > 0; read = readSync(file, chunk)) {
      for (const _ of kernel.run(chunk.subarray(0, read)));
    }
    for (const _ of kernel.runEnd());
  } finally {
    closeSync(file);
  }
  return kernel.takePanes();
}

/** Where a group holds as many reports on both sides, its sums must be the same integers; only reports with a number in quotes may be more. */
async function compare(path: string, { batches }: Corpus, duck: DuckDb): Promise<void> {
  const quoted = batches.reduce((count, batch) => count + batch.toString('latin1').split('"loss":"').length - 1, 0);
  const groups = new Map(
    (await duck.panes(path, suite, { sketches: false })).map((one) => [`${one.model} ${one.minute}`, one]),
  );
  let [more, same] = [0, 0];
  for (const { metric, model, paneStartMs, resolution, sums } of panesOf(native(path), [suite])) {
    if (resolution !== '1m') continue;
    const group = groups.get(`${model} ${paneStartMs / 60_000}`);
    const i = suite.metrics.findIndex(({ name }) => name === metric);
    if (group === undefined) throw new Error(`DuckDB has no group of ${model} at ${paneStartMs}`);
    if (i === -1) {
      more += Number(group.n) - sums.n;
    } else if (Number(group[`n_${i}`]) === sums.n) {
      const got = [group[`a_${i}`], group[`b_${i}`], group[`low_${i}`], group[`high_${i}`]].map(String);
      const wanted = [sums.sumWq, sums.sumWq2, sums.min, sums.max].map(String);
      if (got.join() !== wanted.join())
        throw new Error(`DuckDB's sums of ${model} ${metric} differ: ${got}, not ${wanted}`);
      same++;
    }
  }
  if (more !== quoted || same === 0) throw new Error(`DuckDB counts ${more} reports more, not ${quoted}`);
}
