import type { ListedObject, ObjectStore } from '../platform/object-store.ts';

/** Younger objects are left alone whatever names them: their upload may be under way, or their manifest about to be recorded. */
export const MIN_GRACE_MS = 3_600_000;
export const DEFAULT_GRACE_MS = 7 * 24 * 3_600_000;
/** Objects that one question is about. */
const BATCH = 500;

/** An object by the attempt that it belongs to, as its key says. */
export interface AttemptObject extends ListedObject {
  readonly kind: 'artifacts' | 'logs';
  readonly bookingId: string;
  readonly attempt: number;
}

/** Why an object stays, or may go. `unknown`: of no booking that is known here; another installation's, or one of a database that was lost. */
export type Verdict = 'named' | 'live' | 'unnamed' | 'unknown';

export interface UnnamedOptions {
  readonly store: ObjectStore;
  readonly tenant: string;
  readonly nowMs: number;
  readonly graceMs: number;
  readonly dryRun: boolean;
  /** A verdict for each, in their order, from what is committed now. */
  readonly judge: (objects: readonly AttemptObject[]) => Promise<readonly Verdict[]>;
  readonly signal: AbortSignal;
}

export interface Judged {
  readonly object: AttemptObject;
  readonly verdict: Exclude<Verdict, 'named' | 'live'>;
}

/**
 * Tells of every object of ended attempts that no manifest and no log names, older than the grace, and deletes it unless `dryRun`. What is named, what
 * belongs to a job that lives, and what is not laid out as an attempt's is never touched. Repeatable; an object is judged after it was listed.
 */
export async function* unnamedObjects(options: UnnamedOptions): AsyncGenerator<Judged> {
  const { store, tenant } = options;
  let batch: AttemptObject[] = [];
  for (const kind of ['artifacts', 'logs'] as const) {
    for await (const listed of store.list(`${kind}/${tenant}/`)) {
      if (options.signal.aborted) return;
      const object = ofAttempt(kind, tenant, listed);
      if (object === undefined || options.nowMs - object.modifiedAtMs < options.graceMs) continue;
      batch.push(object);
      if (batch.length < BATCH) continue;
      yield* settle(options, batch);
      batch = [];
    }
  }
  if (batch.length > 0) yield* settle(options, batch);
}

async function* settle(options: UnnamedOptions, batch: readonly AttemptObject[]): AsyncGenerator<Judged> {
  const verdicts = await options.judge(batch);
  for (const [i, object] of batch.entries()) {
    const verdict = verdicts[i];
    if (verdict !== 'unnamed' && verdict !== 'unknown') continue;
    if (verdict === 'unnamed' && !options.dryRun) await options.store.delete(object.key);
    yield { object, verdict };
  }
}

/** `kind/tenant/booking/attempt/…`; undefined: laid out otherwise. */
function ofAttempt(kind: AttemptObject['kind'], tenant: string, listed: ListedObject): AttemptObject | undefined {
  const [, , bookingId = '', attempt = '', ...rest] = listed.key.split('/');
  if (!listed.key.startsWith(`${kind}/${tenant}/`) || rest.length === 0 || !/^[1-9][0-9]{0,6}$/.test(attempt))
    return undefined;
  return { ...listed, kind, bookingId, attempt: Number(attempt) };
}
