import type { Clock } from '../../platform/clock.ts';
import type { Tx } from '../../platform/postgres.ts';
import { newId } from '../context.ts';

export type RetrainCause =
  | { readonly kind: 'demotion'; readonly decisionHash: string; readonly eventId: string }
  /** Somebody asked; no version is young enough; its schedule says so. */
  | { readonly kind: 'manual' | 'stale' | 'schedule' };

export interface RetrainWish {
  readonly tenant: string;
  readonly suite: string;
  /** The version whose model is to be retrained. */
  readonly version: string;
  readonly cause: RetrainCause;
  /** Event time from which the new version is evaluated. */
  readonly demotedTickMs: number;
  readonly requestedBy: string;
  readonly traceId: string;
}

export type RaisedRetrain =
  | { readonly kind: 'raised'; readonly requestId: string; readonly newVersion: string }
  /** A retrain of this model is open or booked: there is one at a time. */
  | { readonly kind: 'exists'; readonly requestId: string; readonly newVersion?: undefined }
  /** Recorded as failed, with the reason. */
  | { readonly kind: 'impossible'; readonly requestId: string; readonly newVersion?: undefined };

/** Longer ones leave no room for `-v<N>` in a version's 64 characters. */
export const MAX_RETRAINABLE_NAME = 56;

/**
 * Raises the retrain of a model, once: names the version it will bring and registers it, in the caller's transaction. A
 * demotion opens the new version's challenge itself, at the watermark it decided at; by hand the consumer opens it before
 * its next report.
 */
export async function raiseRetrain(tx: Tx, clock: Clock, wish: RetrainWish): Promise<RaisedRetrain> {
  const { tenant } = wish;
  const rows = await tx.query<{ model: string; retrain: unknown; open: string | null }>(
    `select m.model, m.retrain,
            (select request_id from retrain_requests r where r.tenant = m.tenant and r.model = m.model and r.state in ('open', 'booked')) as open
     from model_versions v join models m using (tenant, model) where v.tenant = $1 and v.version = $2 for update of m`,
    [tenant, wish.version],
  );
  const entry = rows[0];
  if (entry === undefined) throw new Error(`raiseRetrain: ${wish.version} is not registered`);
  if (entry.open !== null) return { kind: 'exists', requestId: entry.open };
  const requestId = newId(clock);
  if (entry.retrain === null) {
    const failure = {
      code: 'no_retrain_job',
      text: `${entry.model} has no retrain job`,
      mend: 'register the model again with `retrain:`, then ask by hand',
    };
    await insertRequest(tx, clock, requestId, wish, entry.model, null, failure);
    return { kind: 'impossible', requestId };
  }
  const newVersion = await nextVersion(tx, tenant, entry.model);
  await tx.execute(
    `insert into model_versions (tenant, version, model, source, created_by) values ($1, $2, $3, 'retrain', $4)`,
    [tenant, newVersion, entry.model, wish.requestedBy],
  );
  const state = wish.cause.kind === 'demotion' ? 'open' : 'registered';
  await tx.execute(
    'insert into candidates (tenant, suite, version, state, actor, trace_id) values ($1, $2, $3, $4, $5, $6)',
    [tenant, wish.suite, newVersion, state, wish.requestedBy, wish.traceId],
  );
  await insertRequest(tx, clock, requestId, wish, entry.model, newVersion, null);
  return { kind: 'raised', requestId, newVersion };
}

async function insertRequest(
  tx: Tx,
  clock: Clock,
  requestId: string,
  wish: RetrainWish,
  model: string,
  newVersion: string | null,
  failure: object | null,
): Promise<void> {
  const { cause } = wish;
  await tx.execute(
    `insert into retrain_requests (request_id, tenant, model, suite, version, cause, decision_hash, cause_event_id, demoted_tick_ms, state,
       next_try_ms, failure, requested_by, trace_id)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`,
    [
      requestId,
      wish.tenant,
      model,
      wish.suite,
      newVersion,
      cause.kind,
      cause.kind === 'demotion' ? cause.decisionHash : null,
      cause.kind === 'demotion' ? cause.eventId : null,
      wish.demotedTickMs,
      failure === null ? 'open' : 'failed',
      clock.now(),
      failure === null ? null : JSON.stringify(failure),
      wish.requestedBy,
      wish.traceId,
    ],
  );
}

/** `<model>-v<N>`, N one more than the greatest there is; a model without numbered versions counts those it has. */
async function nextVersion(tx: Tx, tenant: string, model: string): Promise<string> {
  const rows = await tx.query<{ version: string; model: string }>(
    `select version, model from model_versions where tenant = $1 and (model = $2 or starts_with(version, $2 || '-v'))`,
    [tenant, model],
  );
  const own = rows.filter((row) => row.model === model).length;
  const greatest = rows.reduce((most, row) => {
    const tail = row.version.slice(model.length);
    const number = row.version.startsWith(model) && /^-v[0-9]{1,6}$/.test(tail) ? Number(tail.slice(2)) : 0;
    return Math.max(most, number);
  }, own);
  return `${model}-v${greatest + 1}`;
}
