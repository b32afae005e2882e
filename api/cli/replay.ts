import type { Invocation } from './invocation.ts';
import { facts, type Row, showOne } from './render.ts';
import { REPLAY } from './shapes.ts';
import type { Format } from './values.ts';

/** What the commands about replays share. */

export function replayPath(id: string | undefined): string {
  return `/v1/replays/${encodeURIComponent(id ?? '')}`;
}

export async function showReplay({ io, options }: Pick<Invocation, 'io' | 'options'>, row: Row): Promise<void> {
  await showOne(io, options.output as Format, REPLAY, row, replayText(row));
}

function replayText(row: Row): string {
  const failure = row.failure as Row | null;
  return facts([
    ['replay', row.id],
    ['state', failure === null ? row.state : `${String(row.state)}: ${String(failure.problem)}`],
    ['mend', failure?.mend],
    ['verdict', row.verdict],
    ['from', boundText(row.from)],
    ['to', boundText(row.to)],
    ['source', row.source],
    ['suite', (row.suite as Row | null)?.name],
    ['read', `${String(row.messages)} of ${String(row.ofMessages)} messages, ${String(row.reports)} reports`],
    ['started', `${String(row.createdAt)} by ${String(row.startedBy)}`],
    ['ended', row.endedAt],
  ]);
}

function boundText(bound: unknown): string | null {
  if (typeof bound !== 'object' || bound === null) return null;
  const { atMs, offset } = bound as { atMs?: number; offset?: string };
  return atMs === undefined ? `offset ${String(offset)}` : new Date(atMs).toISOString();
}

/** One line while it goes on. */
export function progressText(row: Row): string {
  const { etaSeconds, messages, ofMessages, state } = row;
  if (state === 'queued') return 'waiting for a process that reads (role recompute)';
  const share = Number(ofMessages) === 0 ? 100 : Math.floor((Number(messages) / Number(ofMessages)) * 100);
  const eta = typeof etaSeconds === 'number' && share < 100 ? `, about ${durationText(etaSeconds)} left` : '';
  return `${String(state)}: ${share} %, ${String(row.reports)} reports${eta}`;
}

function durationText(seconds: number): string {
  if (seconds < 90) return `${seconds} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}
