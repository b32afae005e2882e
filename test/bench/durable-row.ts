import { createHash } from 'node:crypto';
import { systemClock } from '../../platform/clock.ts';
import type { EventLog } from '../../platform/event-log.ts';
import { openPostgresEventLog } from '../../platform/event-log-postgres.ts';
import { type ConsumerContext, NO_METRICS } from '../../scoring/context.ts';
import { addPaneDeltas } from '../../scoring/ingest/add-panes.sql.ts';
import { Consumer } from '../../scoring/ingest/consumer.ts';
import { DedupEntries } from '../../scoring/ingest/dedup-entries.ts';
import { DIGEST_WORDS, KEY_WORDS } from '../../scoring/ingest/dedup-index.ts';
import { addDedupBlocks } from '../../scoring/ingest/effects.sql.ts';
import { appendReports } from '../../scoring/ingest/pack-reports.ts';
import { deltasOfColumns } from '../../scoring/ingest/pane-deltas.ts';
import { advancePosition } from '../../scoring/ingest/positions.sql.ts';
import { ReaderThread } from '../../scoring/ingest/reader-thread.ts';
import { REPORTS_TOPIC } from '../../scoring/ingest/report-log.ts';
import { createReportKernel } from '../../scoring/report-kernel.ts';
import { ROW_STATUS, type RowBlock } from '../../scoring-native/row-block.ts';
import { CORPUS_REPORTS, CORPUS_SPAN_MS, corpusSuite, makeCorpus } from './corpus.ts';
import { type BenchDatabase, type BenchPostgres, startBenchPostgres, TENANT } from './database.ts';
import { each, median, type Row, ratioOf, row, takeTurns } from './harness.ts';
import { ReportChecker } from './peers/checked-report.ts';
import { Canonicaliser, sha256 } from './peers/content.ts';
import { ROW_TABLES, RowEncoder, RowWriter, rowTables } from './peers/row-copy.ts';

/**
 * Bytes → durable: the report log read to its end, each report in Postgres when it is done and no report twice. Ours is the consumer as it
 * runs in a server, watermarks, ticks and scores included. CPU of this process with its threads, and of every process of Postgres.
 *
 * Beside it, from bytes in memory: kernel and store alone, one transaction a flush with pane deltas and dedup blocks, and nothing of what
 * the consumer does for its log and its ticks.
 */

const FLOOR = 5;
const AIM = 10;
const ROUNDS = 7;
const REPORTS = 50_000;
/** The peer's transactions: the larger, the better for it. */
const ROWS_A_FLUSH = 10_000;
/** Lines of a transaction of kernel and store alone. */
const STORE_LINES = 20_000;
const SINGLE_INSERTS = 2_000;
const READ_MESSAGES = 64;
const READ_BYTES = 4 * 1024 * 1024;
const COMMAND = 'npm run bench -- durable';
const TRACEPARENT = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
const suite = corpusSuite();
/** All that the consumer writes. */
const CONSUMED = [
  'consumer_offsets',
  'dedup_blocks',
  'evidence_edge',
  'evidence_sums',
  'input_counters',
  'pane_sketches',
  'panes',
  'quarantine',
  'rescore_ranges',
  'score_ticks',
  'scores',
  'series',
  'suite_states',
  'tick_reports',
  'watermarks',
];

export async function durableRows(reports = REPORTS): Promise<readonly Row[]> {
  const postgres = await startBenchPostgres();
  try {
    const base = await postgres.database({ more: rowTables });
    const world = await World.open(postgres, base, reports);
    try {
      return await measured(world);
    } finally {
      await world.close();
    }
  } finally {
    await postgres.stop();
  }
}

async function measured(world: World): Promise<readonly Row[]> {
  const times = await takeTurns(
    [
      { name: 'ours', pass: () => world.cpu(() => world.consume()) },
      { name: 'rows', pass: () => world.cpu(() => world.copyRows('unique')) },
      { name: 'heap', pass: () => world.cpu(() => world.copyRows('heap')) },
      { name: 'store', pass: () => world.cpu(() => world.storeFromMemory()) },
      { name: 'rows from memory', pass: () => world.cpu(() => world.copyRowsFromMemory()) },
      { name: 'parsed rows', pass: () => world.cpu(() => world.copyParsedRows()) },
      { name: 'kernel', pass: () => world.cpu(() => world.readOnly()) },
      { name: 'single', pass: () => world.cpu(() => world.insertSingly()) },
    ],
    ROUNDS,
    1,
  );
  const figure = (name: string, count = world.reports) => each(median(times.get(name)!), count);
  const perReport = (name: string, count: number) => median(times.get(name)!) / count;
  return [
    row({
      what: 'bytes → durable against a row a report by COPY, dedup kept',
      value: ratioOf(times, 'ours', 'rows'),
      floor: FLOOR,
      aim: AIM,
      detail: `the consumer ${figure('ours')} a report; our kernel and COPY BINARY into a keyed table ${figure('rows')}`,
      limit:
        'the peer reads by the same kernel from the same log and writes a row; the consumer besides publishes ticks, keeps evidence and merges sketches. Kernel and log alone, which both pay, leave less than 5× to any store',
      command: COMMAND,
    }),
    row({
      what: 'bytes in memory → durable, kernel and store alone, against a row a report by COPY',
      value: ratioOf(times, 'store', 'rows from memory'),
      floor: null,
      aim: null,
      detail: `flushes of ${STORE_LINES} lines ${figure('store')} a report; our kernel and COPY BINARY into a keyed table ${figure('rows from memory')}`,
      command: COMMAND,
    }),
    row({
      what: 'bytes in memory → durable, kernel and store alone, against JSON.parse and a row a report by COPY',
      value: ratioOf(times, 'store', 'parsed rows'),
      floor: null,
      aim: null,
      detail: `JSON.parse, checks, OpenSSL and COPY BINARY into a keyed table ${figure('parsed rows')} a report; our kernel alone ${figure('kernel')}`,
      command: COMMAND,
    }),
    row({
      what: 'bytes → durable against COPY into a heap, dedup in memory only',
      value: ratioOf(times, 'ours', 'heap'),
      floor: null,
      aim: null,
      detail: `COPY BINARY into a table without any index, from which nothing can be read but by reading it all, ${figure('heap')} a report`,
      command: COMMAND,
    }),
    row({
      what: 'bytes → durable against an INSERT a report',
      value: perReport('single', SINGLE_INSERTS) / perReport('ours', world.reports),
      floor: null,
      aim: null,
      detail: `a statement and a transaction each ${figure('single', SINGLE_INSERTS)}`,
      command: COMMAND,
    }),
  ];
}

/** The same by JSON.parse and Node's crypto: what one builds who has no kernel. */
async function copyParsedRows(writer: RowWriter, batches: readonly Buffer[]): Promise<void> {
  const checker = new ReportChecker(suite);
  const canonical = new Canonicaliser();
  const encoder = new RowEncoder();
  for (const batch of batches) {
    const text = batch.toString('utf8');
    for (let from = 0; from < text.length; ) {
      const end = text.indexOf('\n', from);
      if (checker.read(text.slice(from, end))) {
        const { report } = checker;
        const key = sha256(`\n${report.producer}\n${report.reportId}`);
        const { model, observedAtMs, q, weight } = checker;
        encoder.addOne(key, sha256(canonical.text(report)), { model, observedAtMs, weight, x: q });
      }
      from = end + 1;
    }
    if (encoder.rows >= ROWS_A_FLUSH) await writer.flushUnique(encoder.take());
  }
  if (encoder.rows > 0) await writer.flushUnique(encoder.take());
}

/** Reads bytes by our kernel and writes a row a report. */
class RowFlusher {
  readonly #kernel = createReportKernel([suite], { digests: true });
  readonly #encoder = new RowEncoder();
  readonly #writer: RowWriter;
  readonly #into: 'unique' | 'heap';

  constructor(writer: RowWriter, into: 'unique' | 'heap') {
    this.#writer = writer;
    this.#into = into;
  }

  async read(bytes: Uint8Array): Promise<void> {
    for (const block of this.#kernel.read(bytes)) this.#add(block);
    if (this.#encoder.rows >= ROWS_A_FLUSH) await this.#flush();
  }

  async end(): Promise<void> {
    for (const block of this.#kernel.endFile()) this.#add(block);
    if (this.#encoder.rows > 0) await this.#flush();
  }

  #add(block: RowBlock): void {
    // The keyed table finds duplicates itself.
    if (this.#into === 'heap') this.#kernel.offer(0, block.rows);
    this.#encoder.add(block, { accepted: this.#into === 'heap' });
  }

  async #flush(): Promise<void> {
    const rows = this.#encoder.take();
    await (this.#into === 'unique' ? this.#writer.flushUnique(rows) : this.#writer.flushHeap(rows));
  }
}

/** A corpus in a log, the stores that it is read into, and the CPU that this takes. */
export class World {
  readonly reports: number;
  readonly #postgres: BenchPostgres;
  readonly #base: BenchDatabase;
  readonly #writer: RowWriter;
  readonly #reader = new ReaderThread();
  readonly #log: EventLog;
  readonly #batches: readonly Buffer[];
  #accepted: number | undefined;

  private constructor(postgres: BenchPostgres, base: BenchDatabase, writer: RowWriter, reports: number, log: EventLog) {
    this.reports = reports;
    this.#batches = makeCorpus({ reports, spanMs: (CORPUS_SPAN_MS * reports) / CORPUS_REPORTS }).batches;
    this.#postgres = postgres;
    this.#base = base;
    this.#writer = writer;
    this.#log = log;
  }

  /** With the corpus in the log; in the embedded one where no other is given. */
  static async open(
    postgres: BenchPostgres,
    base: BenchDatabase,
    reports: number,
    log: EventLog = openPostgresEventLog({ db: base.db, appendAs: 'engine' }),
  ): Promise<World> {
    const world = new World(postgres, base, await RowWriter.open(base.urls.engine), reports, log);
    await appendReports(world.#log, world.#batches, { tenant: TENANT, producer: undefined, traceparent: TRACEPARENT });
    return world;
  }

  async close(): Promise<void> {
    await this.#reader.close();
    await this.#writer.close();
    await this.#log.close();
    await this.#base.close();
  }

  /** CPU seconds of both sides; tables are emptied before, and not on the bill. */
  async cpu(work: () => Promise<void>): Promise<number> {
    await this.#base.clear([...CONSUMED, ...ROW_TABLES]);
    // Looking at Postgres is not on the bill.
    const there = this.#postgres.cpuSeconds();
    const here = process.cpuUsage();
    await work();
    const { user, system } = process.cpuUsage(here);
    return (user + system) / 1e6 + this.#postgres.cpuSeconds() - there;
  }

  async consume(): Promise<void> {
    const context = {
      db: this.#base.db,
      holder: 'bench',
      clock: systemClock,
      eventLog: this.#log,
      reader: this.#reader,
      metrics: NO_METRICS,
      log: { info: () => {}, warn: () => {}, error: (fields: object) => console.error(fields) },
    } as unknown as ConsumerContext;
    const consumer = new Consumer(context, { member: 'bench' });
    const { signal } = new AbortController();
    while (await consumer.step(signal));
    const rows = await this.#base.db.asEngine((tx) =>
      tx.query<{ accepted: bigint }>('select accepted from input_counters where suite <> $1', ['']),
    );
    this.#check(Number(rows[0]?.accepted));
  }

  /** The log alone, message by message. */
  async readBare(): Promise<void> {
    let bytes = 0;
    for (let offset = 0n; ; ) {
      const messages = await this.#log.read(REPORTS_TOPIC, 0, offset, READ_MESSAGES, READ_BYTES);
      if (messages.length === 0) break;
      bytes += messages.reduce((total, { value }) => total + value!.length, 0);
      offset = messages.at(-1)!.offset + 1n;
    }
    const sent = this.#batches.reduce((total, batch) => total + batch.length, 0);
    if (Math.abs(bytes - sent) > sent / 100) throw new Error(`${bytes} of ${sent} bytes were read`);
  }

  async copyRows(into: 'unique' | 'heap'): Promise<void> {
    const rows = new RowFlusher(this.#writer, into);
    for (let offset = 0n; ; ) {
      const messages = await this.#log.read(REPORTS_TOPIC, 0, offset, READ_MESSAGES, READ_BYTES);
      if (messages.length === 0) break;
      for (const { value } of messages) await rows.read(value!);
      offset = messages.at(-1)!.offset + 1n;
    }
    await rows.end();
    await this.#checkRows(into);
  }

  async copyRowsFromMemory(): Promise<void> {
    const rows = new RowFlusher(this.#writer, 'unique');
    for (const batch of this.#batches) await rows.read(batch);
    await rows.end();
    await this.#checkRows('unique');
  }

  async #checkRows(into: 'unique' | 'heap'): Promise<void> {
    const rows = await this.#base.db.asEngine((tx) =>
      tx.query<{ n: bigint }>(`select count(*) as n from rows_${into}`),
    );
    this.#check(Number(rows[0]!.n));
  }

  async copyParsedRows(): Promise<void> {
    await copyParsedRows(this.#writer, this.#batches);
    await this.#checkRows('unique');
  }

  /** Kernel only: what no store can save. */
  async readOnly(): Promise<void> {
    const kernel = createReportKernel([suite], { digests: true });
    for (const batch of this.#batches) for (const _ of kernel.run(batch));
    for (const _ of kernel.runEnd());
    this.#check(kernel.reports);
  }

  async storeFromMemory(): Promise<void> {
    const { db, epoch } = this.#base;
    const kernel = createReportKernel([suite], { digests: true });
    let entries = new DedupEntries(STORE_LINES);
    let owner = entries.owner({ tenant: TENANT, suite: suite.name });
    let position = { offset: 0n, line: 0 };
    const flush = async () => {
      const deltas = deltasOfColumns(kernel.takePanes(), 0, suite);
      const blocks = entries.blocks();
      const next = { offset: position.offset + 1n, line: 0, appendedAtMs: 0 };
      await db.asLeader(epoch, async (tx) => {
        await advancePosition(tx, REPORTS_TOPIC, 0, position, next);
        await addDedupBlocks(tx, REPORTS_TOPIC, 0, blocks);
        if (deltas !== undefined) await addPaneDeltas(tx, TENANT, suite.name, deltas);
      });
      position = next;
      entries = new DedupEntries(STORE_LINES);
      owner = entries.owner({ tenant: TENANT, suite: suite.name });
    };
    const take = ({ columns, rows }: RowBlock) => {
      const { observedAtMs, status } = columns;
      const [keys, digests] = [wordsOf(columns.key), wordsOf(columns.digest)];
      for (let row = 0; row < rows; row++) {
        if (status[row] !== ROW_STATUS.accepted) continue;
        entries.add(keys, row * KEY_WORDS, digests, row * DIGEST_WORDS, observedAtMs[row]!, owner);
      }
    };
    for (const batch of this.#batches) {
      for (const block of kernel.run(batch)) take(block);
      if (entries.size >= STORE_LINES) await flush();
    }
    for (const block of kernel.runEnd()) take(block);
    if (entries.size > 0) await flush();
    const rows = await db.asEngine((tx) =>
      tx.query<{ n: bigint }>(
        `select sum(n)::bigint as n from panes join series using (series_id) where resolution = 60 and metric = ''`,
      ),
    );
    this.#check(Number(rows[0]!.n));
  }

  async insertSingly(): Promise<void> {
    for (let i = 0; i < SINGLE_INSERTS; i++) {
      const digest = createHash('sha256').update(String(i)).digest();
      await this.#writer.insertOne(digest.subarray(0, 16), digest);
    }
  }

  /** Every way must take the same reports. */
  #check(accepted: number): void {
    this.#accepted ??= accepted;
    if (accepted !== this.#accepted || !(accepted > 0))
      throw new Error(`took ${accepted} reports, another ${this.#accepted}`);
  }
}

function wordsOf(bytes: Uint8Array): Uint32Array {
  return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
}
