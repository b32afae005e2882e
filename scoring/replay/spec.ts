import { contentHash } from '../../core/canonical.ts';
import { type Refusal, RefusedInput, refuse } from '../../core/refusal.ts';
import { parseRfc3339 } from '../../core/rfc3339.ts';
import { parseSuite } from '../../core/suite.ts';

/** What a replay was asked to do, as it is stored. */
export interface ReplaySpec {
  /** The only place that a replay writes to. */
  readonly into: 'shadow';
  readonly from: Bound | null;
  readonly to: Bound | null;
  /** Where messages are read that are in both. */
  readonly source: 'archive' | 'log';
  /** Reports a second at most; null: as fast as it goes. */
  readonly rate: number | null;
  /** A suite, or another rule of promotion in one, in place of the versions that were live; null: those. */
  readonly suite: { readonly name: string; readonly hash: string; readonly document: unknown } | null;
}

/** A tick in event time, or a place in every partition. */
export type Bound = { readonly atMs: number } | { readonly offset: string };

/** As a request gives it. */
export interface ReplayWish {
  readonly into: string;
  readonly from?: string | undefined;
  readonly to?: string | undefined;
  readonly source?: string | undefined;
  readonly rate?: number | undefined;
  readonly suite?: unknown;
}

const MAX_RATE = 10_000_000;

/** Throws RefusedInput with all that is wrong. */
export function replaySpec(wish: ReplayWish): ReplaySpec {
  const refusals: Refusal[] = [];
  const from = readBound('from', wish.from, refusals);
  const to = readBound('to', wish.to, refusals);
  if (from !== null && to !== null && isAfter(from, to))
    refusals.push(refuse('range', 'from', 'is later than to', 'give the earlier one first'));
  if (wish.into !== 'shadow')
    refusals.push(refuse('enum', 'into', 'is not where a replay can go', 'write shadow: nothing live is ever written'));
  const { source = 'archive', rate = null } = wish;
  if (source !== 'archive' && source !== 'log')
    refusals.push(refuse('enum', 'source', 'is neither archive nor log', 'write archive or log'));
  if (rate !== null && !(Number.isSafeInteger(rate) && rate >= 1 && rate <= MAX_RATE))
    refusals.push(refuse('range', 'rate', `is not 1 to ${MAX_RATE} reports a second`, 'write a whole number'));
  const suite = wish.suite === undefined ? undefined : parseSuite(wish.suite);
  if (refusals.length > 0) throw new RefusedInput(refusals);
  return {
    into: 'shadow',
    from,
    to,
    source: source === 'log' ? 'log' : 'archive',
    rate,
    suite: suite === undefined ? null : { name: suite.name, hash: suite.hash, document: suite.document },
  };
}

/** The rate is how, not what: a replay that is asked for again at another one is the same. */
export function specHash({ rate: _, ...what }: ReplaySpec): string {
  return contentHash(what);
}

function readBound(field: 'from' | 'to', text: string | undefined, refusals: Refusal[]): Bound | null {
  if (text === undefined) return null;
  if (/^(0|[1-9][0-9]{0,17})$/.test(text)) return { offset: text };
  const atMs = parseRfc3339(text);
  if (atMs !== undefined) return { atMs };
  refusals.push(
    refuse('instant', field, 'is neither a time nor an offset', 'write 2026-11-23T10:00:00Z, or a whole number'),
  );
  return null;
}

function isAfter(from: Bound, to: Bound): boolean {
  if ('atMs' in from && 'atMs' in to) return from.atMs > to.atMs;
  return 'offset' in from && 'offset' in to && BigInt(from.offset) > BigInt(to.offset);
}
