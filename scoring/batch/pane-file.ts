import { setImmediate as breathe } from 'node:timers/promises';
import { canonicalText } from '../../core/canonical.ts';
import { parseJson } from '../../core/json.ts';
import { RefusedInput, refuse } from '../../core/refusal.ts';
import { check, type Static, Type } from '../../core/schema.ts';
import { RESOLUTION_MS, RESOLUTIONS } from '../rules/pane.ts';
import { isInHourShare, MAX_SHARES } from './hour-share.ts';
import type { PackedPanes } from './pane-deltas.ts';
import { sumsProblem } from './sums-bounds.ts';

/**
 * What a job leaves that counted a share of a partition's history: a first line of JSON in its RFC 8785 form, and behind it the columns of PackedPanes
 * one after the other, little endian. Panes are in order (series, resolution, start), each once. That its bytes are what the job left is held by its manifest.
 */
const FORMAT = 'merit-panes/1';

/** Where it is among a job's outputs. */
export const PANES_FILE = 'shard.panes';

const Digits = Type.String({ pattern: '^(0|[1-9][0-9]{0,18})$' });
const Count = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });
/** A metric of the suite, or none: the row of all. */
const SERIES = '^[A-Za-z0-9._-]{1,64} [A-Za-z0-9._-]{0,64}$';

const Head = Type.Object(
  {
    format: Type.Literal(FORMAT),
    claim: Type.String({ maxLength: 64 }),
    rollout: Type.String({ maxLength: 26 }),
    suiteHash: Type.String({ pattern: '^[0-9a-f]{64}$' }),
    partition: Type.Integer({ minimum: 0 }),
    share: Type.Object(
      {
        index: Type.Integer({ minimum: 0, maximum: MAX_SHARES - 1 }),
        of: Type.Integer({ minimum: 1, maximum: MAX_SHARES }),
      },
      { additionalProperties: false },
    ),
    /** Messages [from, until) of the partition, of the last one so many lines; 0: all. */
    from: Digits,
    until: Digits,
    untilLine: Type.Integer({ minimum: 0 }),
    onTimeFromMs: Type.Union([Type.Number(), Type.Null()]),
    counts: Type.Object(
      { counted: Count, late: Count, refused: Count, outdated: Count },
      { additionalProperties: false },
    ),
    series: Type.Array(Type.String({ pattern: SERIES })),
    panes: Count,
    buckets: Count,
  },
  { additionalProperties: false },
);
export type PaneFileHead = Readonly<Static<typeof Head>>;

export interface PaneFile {
  readonly head: PaneFileHead;
  readonly panes: PackedPanes;
}

const MAX_HEAD_BYTES = 16 * 1024 * 1024;
/** Rows that are looked at before others go on. */
export const ROWS_AT_ONCE = 20_000;

type Named = Omit<PaneFileHead, 'format' | 'series' | 'panes' | 'buckets'>;

export function paneFile(named: Named, panes: PackedPanes): Buffer {
  const head: PaneFileHead = {
    ...named,
    format: FORMAT,
    series: [...panes.series],
    panes: panes.n.length,
    buckets: panes.bucket.length,
  };
  const columns = columnsOf(panes).map(({ buffer, byteOffset, byteLength }) =>
    Buffer.from(buffer, byteOffset, byteLength),
  );
  return Buffer.concat([Buffer.from(`${canonicalText(head)}\n`), ...columns]);
}

function columnsOf(panes: PackedPanes): readonly ArrayBufferView[] {
  const { seriesOf, resolution, startMs, n, sums, extremes, bucketsEnd, bucket, bucketCount } = panes;
  return [startMs, n, sums, extremes, seriesOf, bucketsEnd, bucket, bucketCount, resolution];
}

/** Lets others go on meanwhile: who merges may lead the engine, too. Throws RefusedInput where it is none, or holds what no job of ours leaves. */
export async function readPaneFile(name: string, bytes: Buffer): Promise<PaneFile> {
  const end = bytes.subarray(0, MAX_HEAD_BYTES).indexOf(0x0a);
  const reading = end === -1 ? undefined : parseJson(bytes.subarray(0, end));
  if (reading?.ok !== true || check(Head, reading.value).length > 0)
    throw refused(name, 'has no head of a file of panes');
  const head = reading.value as unknown as PaneFileHead;
  const { share, panes: rows, buckets, series } = head;
  if (share.index >= share.of) throw refused(name, 'is of a share that is none');
  if (new Set(series).size < series.length) throw refused(name, 'names a series twice');
  let at = end + 1;
  if (bytes.length - at !== rows * ROW_BYTES + buckets * BUCKET_BYTES) throw refused(name, 'is cut, or too long');
  // Copied: a column begins at any byte of the file.
  const column = (size: number) => {
    const from = at;
    at += size;
    return new Uint8Array(bytes.subarray(from, at)).buffer;
  };
  const panes: PackedPanes = {
    series,
    startMs: new Float64Array(column(rows * 8)),
    n: new Float64Array(column(rows * 8)),
    sums: new BigUint64Array(column(rows * 48)),
    extremes: new Float64Array(column(rows * 16)),
    seriesOf: new Uint32Array(column(rows * 4)),
    bucketsEnd: new Uint32Array(column(rows * 4)),
    bucket: new Int32Array(column(buckets * 4)),
    bucketCount: new Uint32Array(column(buckets * 4)),
    resolution: new Uint8Array(column(rows)),
  };
  for (let row = 0; row < rows; row++) {
    if (row % ROWS_AT_ONCE === ROWS_AT_ONCE - 1) await breathe();
    const problem = rowProblem(panes, row, head);
    if (problem !== undefined) throw refused(name, `${problem} (pane ${row})`);
  }
  if (buckets !== (rows === 0 ? 0 : panes.bucketsEnd[rows - 1])) throw refused(name, 'has buckets of no pane');
  return { head, panes };
}

const ROW_BYTES = 8 + 8 + 48 + 16 + 4 + 4 + 1;
const BUCKET_BYTES = 4 + 4;

function rowProblem(panes: PackedPanes, row: number, { share, series }: PaneFileHead): string | undefined {
  const startMs = panes.startMs[row]!;
  const resolution = RESOLUTIONS[panes.resolution[row]!];
  if (panes.seriesOf[row]! >= series.length) return 'names a series that is not there';
  if (resolution === undefined) return 'has a size that is none';
  if (!Number.isSafeInteger(startMs) || startMs % RESOLUTION_MS[resolution] !== 0) return 'begins where no pane begins';
  if (!isInHourShare(share, startMs)) return 'has an hour of another share';
  if (row > 0 && !isBehind(panes, row)) return 'is out of order, or twice';
  return sumsProblem(panes, row, series[panes.seriesOf[row]!]!.endsWith(' '));
}

function isBehind({ seriesOf, resolution, startMs }: PackedPanes, row: number): boolean {
  const before = row - 1;
  if (seriesOf[row] !== seriesOf[before]) return seriesOf[row]! > seriesOf[before]!;
  if (resolution[row] !== resolution[before]) return resolution[row]! > resolution[before]!;
  return startMs[row]! > startMs[before]!;
}

function refused(name: string, problem: string): RefusedInput {
  return new RefusedInput([refuse('pane_file', name, problem, 'book the jobs again: merit recompute')]);
}
