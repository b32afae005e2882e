import { facts, type Row, type Shape } from './render.ts';

/** What a job waited, ran, used and left, as a person reads it. */

export const USAGE: Shape = {
  name: (row) => `${String(row.attempt)} ${String(row.from)}`,
  columns: [
    { head: 'ATTEMPT', cell: (row) => row.attempt },
    { head: 'FROM', cell: (row) => row.from },
    { head: 'TO', cell: (row) => row.to, wide: true },
    { head: 'CPUS', cell: (row) => thousandths(row.cpuMilli) },
    { head: 'MEMORY', cell: (row) => size(row.memoryBytes) },
    { head: 'GPUS', cell: (row) => thousandths(row.gpuMilli) },
    { head: 'GPU MEMORY', cell: (row) => size(row.gpuMemoryBytes) },
  ],
};

/** One row a stretch of an attempt, oldest first. */
export function usageRows(metrics: Row): readonly Row[] {
  const attempts = Array.isArray(metrics.items) ? (metrics.items as readonly Row[]) : [];
  return attempts.flatMap(({ attempt, usage }) =>
    (Array.isArray(usage) ? (usage as readonly Row[]) : []).map((point) => ({ attempt, ...point })),
  );
}

/** What nobody told is left out. */
export function metricsText(metrics: Row): string {
  return facts([
    ['waited', seconds(metrics.waitedMs)],
    ['ran', seconds(metrics.ranMs)],
    ['exit code', metrics.exitCode],
    ['cpu', cpuText(metrics)],
    ['memory', peak(size(metrics.memoryPeakBytes))],
    ['gpus', peak(thousandths(metrics.gpuPeakMilli))],
    ['gpu memory', peak(size(metrics.gpuMemoryPeakBytes))],
    ['log', size(metrics.logBytes)],
    ['artifacts', filesText(metrics)],
  ]);
}

function cpuText({ cpuMs, ranMs }: Row): string | undefined {
  if (typeof cpuMs !== 'number') return undefined;
  const mean = typeof ranMs === 'number' && ranMs > 0 ? `, ${(cpuMs / ranMs).toFixed(2)} CPUs on average` : '';
  return `${seconds(cpuMs)}${mean}`;
}

function filesText({ files, artifactBytes }: Row): string | undefined {
  return typeof files === 'number' ? `${files} files, ${size(artifactBytes)}` : undefined;
}

function peak(text: string | undefined): string | undefined {
  return text === undefined ? undefined : `${text} at most`;
}

function seconds(ms: unknown): string | undefined {
  return typeof ms === 'number' ? `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 0)} s` : undefined;
}

function thousandths(milli: unknown): string | undefined {
  return typeof milli === 'number' ? (milli / 1000).toFixed(2) : undefined;
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

function size(bytes: unknown): string | undefined {
  if (typeof bytes !== 'number') return undefined;
  const power = Math.min(UNITS.length - 1, Math.floor(Math.log2(Math.max(1, bytes)) / 10));
  return `${(bytes / 1024 ** power).toFixed(power === 0 ? 0 : 1)} ${UNITS[power]}`;
}
