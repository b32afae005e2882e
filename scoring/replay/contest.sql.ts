import { OperatingError } from '../../core/operating-error.ts';
import type { Tx } from '../../platform/postgres.ts';
import type { Signer } from '../../platform/signer.ts';
import type { PromotionPolicy } from '../context.ts';
import type { ReplaySpec } from './spec.ts';
import { type Cut, type Opened, promotionKey, type Turn } from './timeline.sql.ts';

/** What happened beside the log, done again in the tables of a replay (where the transaction looks first). */

/** Nothing of a replay is anybody's word. */
export const NO_SIGNER: Signer = {
  keyId: 'replay',
  algorithm: 'ed25519',
  publicKey: new Uint8Array(32),
  sign: async () => new Uint8Array(64),
};

/**
 * The policy's answers. With the versions that were live it allows what was promoted, at the place where it was; whatever else was answered
 * then is in the replay's tables already, and what was never answered stays so. With another suite nobody was asked: it allows.
 */
export function replayPolicy(spec: ReplaySpec, promotedHere: () => ReadonlySet<string>): PromotionPolicy {
  return async ({ questionId, suite, suiteHash, tick, version }) => {
    const assumed = spec.suite?.name === suite;
    if (!assumed && !promotedHere().has(promotionKey(suiteHash, tick, version)))
      throw new OperatingError('unreachable', 'safe', 'asking in a replay', { cause: 'its place is not reached' });
    const policyVersion = assumed ? 'assumed' : 'as it was';
    return { allow: true, decisionId: questionId, policyVersion, evidence: { assumed } };
  };
}

/** The versions that hold from here on; of the suite that is replaced, the one it is replaced by. */
export async function takeTurns(tx: Tx, tenant: string, spec: ReplaySpec, turns: readonly Turn[]): Promise<void> {
  for (const turn of turns) {
    const { suite, suiteHash, document } =
      spec.suite?.name === turn.suite
        ? { suite: turn.suite, suiteHash: spec.suite.hash, document: spec.suite.document }
        : turn;
    await tx.execute('update suites set active = false where tenant = $1 and suite = $2 and suite_hash <> $3', [
      tenant,
      suite,
      suiteHash,
    ]);
    await tx.execute(
      `insert into suites (tenant, suite, suite_hash, document, active, applied_by) values ($1, $2, $3, $4, true, 'replay')
       on conflict (tenant, suite, suite_hash) do update set active = true`,
      [tenant, suite, suiteHash, JSON.stringify(document)],
    );
  }
}

/**
 * Registers who began to stand here and does not stand: what a decision opened, it opens again by itself. Where another suite is replayed
 * only who came anew is registered, since its decisions are its own.
 */
export async function openChallenges(
  tx: Tx,
  tenant: string,
  spec: ReplaySpec,
  opened: readonly Opened[],
  isFirst: (one: Opened) => boolean,
): Promise<void> {
  for (const [i, one] of opened.entries()) {
    if (spec.suite?.name === one.suite && !isFirst(one)) continue;
    const standing = await tx.query<{ role: Opened['role'] }>(
      `select role from watches w join suite_states s using (tenant, suite, suite_hash)
       where w.tenant = $1 and w.suite = $2 and w.model = $3 and w.closed_tick_ms is null`,
      [tenant, one.suite, one.model],
    );
    const role = standing[0]?.role;
    if (role === one.role || (role !== undefined && one.role === 'candidate')) continue;
    await tx.execute(
      `insert into candidates (tenant, suite, version, state, seat, actor, trace_id, created_at)
       values ($1, $2, $3, 'registered', $4, 'replay', '', to_timestamp($5))
       on conflict (tenant, suite, version) do update set state = 'registered', seat = excluded.seat, created_at = excluded.created_at`,
      [tenant, one.suite, one.model, one.role === 'incumbent', i],
    );
  }
}

/** Questions that waited are asked again at once. */
export async function askAgain(tx: Tx): Promise<void> {
  await tx.execute(`update policy_questions set next_try_ms = 0 where state = 'pending'`);
}

/** Which of the openings are the first of their model in a suite. */
export function firstOpenings(cuts: readonly Cut[]): ReadonlySet<Opened> {
  const seen = new Set<string>();
  const first = new Set<Opened>();
  for (const { opened } of cuts) {
    for (const one of opened) {
      const key = `${one.suite} ${one.model}`;
      if (!seen.has(key)) first.add(one);
      seen.add(key);
    }
  }
  return first;
}
