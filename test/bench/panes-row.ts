import { inspect, isDeepStrictEqual } from 'node:util';
import { createReportKernel, panesOf } from '../../scoring/report-kernel.ts';
import { ANY_METRIC, type Pane, RESOLUTIONS } from '../../scoring/rules/pane.ts';
import { CORPUS_REPORTS, CORPUS_SPAN_MS, type Corpus, corpusSuite, makeCorpus } from './corpus.ts';
import { each, median, type Row, ratioOf, row, type Times, takeTurns } from './harness.ts';
import { MapPanes } from './peers/map-panes.ts';
import type { CellColumns } from './peers/pane-cells.ts';
import { TunedPanes } from './peers/tuned-panes.ts';

/** Bytes → pane aggregates, deduplicated: the kernel, tuned JavaScript and a pipeline of Maps, each with and without digests. */

const TUNED = { floor: 6, aim: 9 };
const MAP = { floor: 12, aim: 16 };
const ROUNDS = 7;
const COMMAND = 'npm run bench -- panes';
const suite = corpusSuite();

export async function panesRows(reports = CORPUS_REPORTS): Promise<readonly Row[]> {
  const corpus = makeCorpus({ reports, spanMs: (CORPUS_SPAN_MS * reports) / CORPUS_REPORTS });
  const rows: Row[] = [];
  for (const digests of [false, true]) {
    compare(corpus, digests);
    const times = await takeTurns(
      [
        { name: 'ours', pass: () => void native(corpus, digests) },
        { name: 'tuned', pass: () => void tuned(corpus, digests) },
        { name: 'map', pass: () => void mapped(corpus, digests) },
      ],
      ROUNDS,
      1,
    );
    rows.push(...rowsOf(times, corpus, digests));
  }
  return rows;
}

function rowsOf(times: Times, corpus: Corpus, digests: boolean): readonly Row[] {
  const how = digests ? 'with digests' : 'without digests';
  const figure = (name: string) => `${each(median(times.get(name)!), corpus.lines)} a report`;
  const limit = digests
    ? 'SHA-256 of the canonical form: WebAssembly has no instruction for it, the peer’s OpenSSL has'
    : 'the walk over the line and the buckets’ table, which outgrows the caches';
  return [
    row({
      what: `bytes → panes against tuned JavaScript, ${how}`,
      value: ratioOf(times, 'ours', 'tuned'),
      ...TUNED,
      detail: `ours ${figure('ours')}; JSON.parse into typed arrays ${figure('tuned')}`,
      limit,
      command: COMMAND,
    }),
    row({
      what: `bytes → panes against Maps, ${how}`,
      value: ratioOf(times, 'ours', 'map'),
      ...MAP,
      detail: `ours ${figure('ours')}; JSON.parse, Maps and BigInt ${figure('map')}`,
      limit,
      command: COMMAND,
    }),
  ];
}

interface Counts {
  readonly accepted: number;
  readonly quarantined: number;
  readonly duplicates: number;
  readonly conflicts: number;
}

function native({ batches }: Corpus, digests: boolean) {
  const kernel = createReportKernel([suite], { digests });
  for (const batch of batches) for (const _ of kernel.run(batch));
  for (const _ of kernel.runEnd());
  return { kernel, columns: kernel.takePanes() };
}

function tuned({ batches }: Corpus, digests: boolean) {
  const peer = new TunedPanes(suite, { digests });
  for (const batch of batches) peer.read(batch);
  return { peer, columns: peer.take() };
}

function mapped({ batches }: Corpus, digests: boolean) {
  const peer = new MapPanes(suite, { digests });
  for (const batch of batches) peer.read(batch);
  return { peer, panes: peer.take() };
}

/** All three must count the same lines and come to the same rows, in the same order. */
function compare(corpus: Corpus, digests: boolean): void {
  const byMap = mapped(corpus, digests);
  const byTuned = tuned(corpus, digests);
  same('counts of the peers', [countsOf(byTuned.peer)], [countsOf(byMap.peer)]);
  same('panes of the peers', panesOfCells(byTuned.columns, byTuned.peer.models), byMap.panes);
  const byKernel = native(corpus, digests);
  same('reports of the kernel', [byKernel.kernel.reports], [byMap.peer.accepted]);
  same('panes of the kernel', panesOf(byKernel.columns, [suite]), byMap.panes);
}

function same(what: string, got: readonly unknown[], wanted: readonly unknown[]): void {
  const at = wanted.findIndex((one, i) => !isDeepStrictEqual(one, got[i]));
  if (at === -1 && got.length === wanted.length) return;
  const text = (one: unknown) => inspect(one, { depth: 4, breakLength: 200 });
  throw new Error(`${what} differ at ${at} of ${wanted.length}: ${text(got[at])}, not ${text(wanted[at])}`);
}

function countsOf({ accepted, quarantined, duplicates, conflicts }: Counts): Counts {
  return { accepted, quarantined, duplicates, conflicts };
}

function panesOfCells(columns: CellColumns, models: readonly string[]): Pane[] {
  return Array.from({ length: columns.rows }, (_, i) => {
    const metric = columns.metric[i]!;
    const first = columns.firstBucket[i]!;
    return {
      suiteHash: suite.hash,
      model: models[columns.model[i]!]!,
      metric: metric === -1 ? ANY_METRIC : suite.metrics[metric]!.name,
      resolution: RESOLUTIONS[columns.resolution[i]!]!,
      paneStartMs: columns.startMs[i]!,
      sums: {
        n: columns.n[i]!,
        weight: BigInt(columns.weight[i]!),
        sumWq: BigInt(columns.sumWq[i]!) + BigInt(columns.sumWqHigh[i]!) * 2n ** 52n,
        sumWq2: BigInt(columns.sumWq2[i]!) + BigInt(columns.sumWq2Middle[i]!) * 2n ** 20n,
        min: columns.min[i]!,
        max: columns.max[i]!,
        buckets: Array.from({ length: columns.buckets[i]! }, (_, b): [number, number] => [
          columns.bucketIndex[first + b]!,
          columns.bucketCount[first + b]!,
        ]),
      },
    };
  });
}
