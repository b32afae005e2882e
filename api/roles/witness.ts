import { RefusedInput, refuse } from '../../core/refusal.ts';
import { requireWitnessed } from '../../ledger/audit/witness.ts';
import { runWitness, type WitnessWatch } from '../../ledger/audit/witness-loop.ts';
import { restartWitness } from '../../ledger/audit/witness-restart.ts';
import type { Clock } from '../../platform/clock.ts';
import type { Database } from '../../platform/postgres.ts';
import { newTrace } from '../../platform/trace.ts';
import { openWitness, type WitnessConfig } from '../../platform/witness-config.ts';
import type { WitnessStore } from '../../platform/witness-store.ts';
import type { LeaderLoop } from './engine.ts';

/** As audit events name who started the server. */
const ACTOR = 'merit/start';

export interface WitnessParts {
  readonly db: Database;
  readonly clock: Clock;
  readonly config: WitnessConfig | undefined;
  readonly tenant: string;
  /** Why the trail may be shorter than its witness this once; undefined: it may not. */
  readonly restart: string | undefined;
  readonly watch: WitnessWatch;
}

export interface TrailWitness {
  readonly store: WitnessStore | undefined;
  readonly loops: readonly LeaderLoop[];
}

/** Opens the witness and compares. Throws OperatingError `witness` where the trail is not the one that was witnessed, and what S3 says where it is away. */
export async function openTrailWitness(parts: WitnessParts): Promise<TrailWitness> {
  const { db, clock, config, tenant, restart: reason, watch } = parts;
  if (config === undefined) {
    if (reason !== undefined) throw nothingToRestart('there is no witness');
    return { store: undefined, loops: [] };
  }
  const store = await openWitness(config.place);
  if (reason !== undefined) {
    const { traceId } = newTrace();
    const by = { tenant, actor: ACTOR, traceId, nowMs: clock.now(), reason };
    if (!(await restartWitness(db, store, by))) throw nothingToRestart('the trail holds all that its witness has seen');
  }
  await requireWitnessed(db, store);
  const { everyMs } = config;
  const run = (_epoch: bigint, signal: AbortSignal) => runWitness({ db, store, clock, everyMs, watch }, signal);
  return { store, loops: [{ name: 'witness', run }] };
}

function nothingToRestart(problem: string): RefusedInput {
  return new RefusedInput([
    refuse('witness_restart', '--restart-witness', `is not called for: ${problem}`, 'start without it'),
  ]);
}
