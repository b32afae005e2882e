import type { Usage } from '../../providers/provider.ts';

/** What a job used in a stretch of its run. null: its provider did not tell. */
export interface UsagePoint {
  readonly fromMs: number;
  readonly toMs: number;
  /** CPU time used in it. */
  readonly cpuMs: number | null;
  /** The most that was seen in it; so are the members below. */
  readonly memoryBytes: number | null;
  /** GPUs that were busy: 1000 is one that never stood still. */
  readonly gpuMilli: number | null;
  readonly gpuMemoryBytes: number | null;
}

/** What a job used over its run, in at most MAX_POINTS stretches, oldest first. A value that is stored, and gone on with by whoever reads it. */
export interface UsageSeries {
  /** How long a stretch is at least: twice as long each time there were too many. */
  readonly everyMs: number;
  readonly points: readonly UsagePoint[];
  /** CPU time since the run began, as the last reading told it; null: none did. */
  readonly readCpuMs: number | null;
}

/** With one more they are joined two by two: from then on there are half as many to as many, however long the run. */
export const MAX_POINTS = 120;

export function newSeries(everyMs: number): UsageSeries {
  return { everyMs, points: [], readCpuMs: null };
}

/** The series with a reading at its end. `beganAtMs`: what the first one counts from. A clock that goes back stands still. */
export function withReading(series: UsageSeries, beganAtMs: number, nowMs: number, reading: Usage): UsageSeries {
  const last = series.points.at(-1);
  const fromMs = last?.toMs ?? Math.min(beganAtMs, nowMs);
  const atMs = Math.max(fromMs, nowMs);
  const { cpuMs } = reading;
  // A backend that forgets what processes used that are gone tells less than before: no time is taken back.
  const used = cpuMs === undefined ? null : Math.max(0, cpuMs - (series.readCpuMs ?? 0));
  const point: UsagePoint = {
    fromMs,
    toMs: atMs,
    cpuMs: used,
    memoryBytes: reading.memoryBytes ?? null,
    gpuMilli: reading.gpuMilli ?? null,
    gpuMemoryBytes: reading.gpuMemoryBytes ?? null,
  };
  const readCpuMs = cpuMs === undefined ? series.readCpuMs : Math.max(cpuMs, series.readCpuMs ?? 0);
  const short = last !== undefined && atMs - last.fromMs <= series.everyMs;
  const points = short ? [...series.points.slice(0, -1), joined(last, point)] : [...series.points, point];
  return points.length <= MAX_POINTS
    ? { ...series, points, readCpuMs }
    : { everyMs: series.everyMs * 2, points: halved(points), readCpuMs };
}

/** Of the whole run: CPU time, and the most of the rest. */
export function totalOf(series: UsageSeries): Omit<UsagePoint, 'fromMs' | 'toMs'> {
  const { cpuMs, memoryBytes, gpuMilli, gpuMemoryBytes } = series.points.reduce(joined, NOTHING);
  return { cpuMs, memoryBytes, gpuMilli, gpuMemoryBytes };
}

const NOTHING: UsagePoint = {
  fromMs: Number.POSITIVE_INFINITY,
  toMs: 0,
  cpuMs: null,
  memoryBytes: null,
  gpuMilli: null,
  gpuMemoryBytes: null,
};

function joined(a: UsagePoint, b: UsagePoint): UsagePoint {
  return {
    fromMs: Math.min(a.fromMs, b.fromMs),
    toMs: b.toMs,
    cpuMs: both(a.cpuMs, b.cpuMs, (x, y) => x + y),
    memoryBytes: both(a.memoryBytes, b.memoryBytes, Math.max),
    gpuMilli: both(a.gpuMilli, b.gpuMilli, Math.max),
    gpuMemoryBytes: both(a.gpuMemoryBytes, b.gpuMemoryBytes, Math.max),
  };
}

function both(a: number | null, b: number | null, of: (a: number, b: number) => number): number | null {
  if (a === null) return b;
  return b === null ? a : of(a, b);
}

function halved(points: readonly UsagePoint[]): readonly UsagePoint[] {
  return points.flatMap((point, i) => {
    if (i % 2 === 1) return [];
    const next = points[i + 1];
    return [next === undefined ? point : joined(point, next)];
  });
}
