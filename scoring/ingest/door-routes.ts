import { reportKey } from '../../core/eval-report.ts';
import type { EventLog } from '../../platform/event-log.ts';
import { REPORTS_TOPIC } from './report-log.ts';
import type { Routes } from './shards.ts';

/** What a door needs of the log. */
export type Doors = Pick<EventLog, 'append' | 'partitions'>;

/** A door may know of new partitions a while later: until then the consumer sends lines on. */
const PARTITIONS_KNOWN_MS = 5_000;
const known = new WeakMap<Doors, { readonly count: Promise<number>; readonly untilMs: number }>();

export function partitionsOf(log: Doors): Promise<number> {
  const now = performance.now();
  const found = known.get(log);
  if (found !== undefined && found.untilMs > now) return found.count;
  const count = log.partitions(REPORTS_TOPIC).then((list) => Math.max(1, list.length));
  known.set(log, { count, untilMs: now + PARTITIONS_KNOWN_MS });
  count.catch(() => known.delete(log));
  return count;
}

const PRODUCER_KEY = Buffer.from('"producer"');
const REPORT_ID_KEY = Buffer.from('"reportId"');
const QUOTE = 0x22;
const COLON = 0x3a;
const BACKSLASH = 0x5c;

/**
 * The partition that serves the line's shard, by the first members of those names that it holds. That is a guess, and cheap: where it is wrong
 * the line is a stray, which the consumer sends on.
 */
export function routeOf(line: Buffer, tenant: string, routes: NonNullable<Routes>): number {
  const producer = memberText(line, PRODUCER_KEY);
  const reportId = memberText(line, REPORT_ID_KEY);
  if (producer === undefined || reportId === undefined) return 0;
  return routes[reportKey(tenant, { producer, reportId })[0]!]!;
}

function memberText(line: Buffer, key: Buffer): string | undefined {
  const name = line.indexOf(key);
  if (name === -1) return undefined;
  const colon = pastSpace(line, name + key.length);
  if (line[colon] !== COLON) return undefined;
  const open = pastSpace(line, colon + 1);
  if (line[open] !== QUOTE) return undefined;
  const close = line.indexOf(QUOTE, open + 1);
  if (close === -1 || line.subarray(open, close).includes(BACKSLASH)) return undefined;
  return line.toString('latin1', open + 1, close);
}

function pastSpace(line: Buffer, from: number): number {
  let at = from;
  while (line[at] === 0x20 || line[at] === 0x09) at++;
  return at;
}
