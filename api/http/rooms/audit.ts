import { RefusedInput, refuse } from '../../../core/refusal.ts';
import { formatRfc3339 } from '../../../core/rfc3339.ts';
import { awaitRecorded, exportBundle } from '../../../ledger/audit/export.ts';
import { exportState } from '../../../ledger/audit/export-state.ts';
import {
  askForKey,
  type KnownKey,
  type RotationOutcome,
  readKeys,
  rootKeys,
} from '../../../ledger/audit/key-history.sql.ts';
import { rootsText } from '../../../ledger/audit/roots.ts';
import type { SigningKeys } from '../../../ledger/audit/signing-keys.ts';
import { checkTrail, newestWitness, pushWitness, witnessLag } from '../../../ledger/audit/witness.ts';
import type { WitnessRecord } from '../../../ledger/audit/witness-record.ts';
import type { Database } from '../../../platform/postgres.ts';
import type { WitnessStore } from '../../../platform/witness-store.ts';
import type { AuditService, View } from '../services.ts';
import { eventRows } from './audit-view.sql.ts';
import { requesterOf } from './base.ts';

export interface AuditPorts {
  readonly db: Database;
  readonly keys: Pick<SigningKeys, 'next'>;
  /** undefined: there is none. */
  readonly witness: WitnessStore | undefined;
}

/** The trail as it is asked for: events, keys, the chain. Keys and the chain are of the installation, not of a tenant. */
export function auditOf({ db, keys, witness }: AuditPorts): AuditService {
  return {
    events: (tx, caller, filter, page) => eventRows(tx, caller.identity.tenant, filter, page),
    roots: async () => JSON.parse(rootsText(rootKeys(await db.asEngine(readKeys)))) as View,
    exportState: async function* (caller) {
      for await (const line of exportState(db, formatRfc3339(caller.nowMs))) yield Buffer.from(line, 'utf8');
    },
    exportBundle: async function* () {
      await awaitRecorded(db);
      for await (const line of exportBundle(db)) yield Buffer.from(line, 'utf8');
    },
    ...witnessOf(db, witness),
    keys: async () => (await db.asEngine(readKeys)).map(keyView),
    rotateKey: async (caller) => {
      const { next } = keys;
      if (next === undefined)
        throw refused('names no key to go over to', 'name it in merit.yaml, restart every server, and ask again');
      const outcome = await db.asEngine((tx) => askForKey(tx, requesterOf(caller), next));
      const why = NOT_ROTATED[outcome];
      if (why !== undefined) throw refused(...why);
      const asked = (await db.asEngine(readKeys)).find((key) => key.keyId === next.keyId);
      return keyView(asked!);
    },
  };
}

function witnessOf(
  db: Database,
  witness: WitnessStore | undefined,
): Pick<AuditService, 'witness' | 'pushWitness' | 'witnessRecords'> {
  const store = () => {
    if (witness !== undefined) return witness;
    throw new RefusedInput([
      refuse('no_witness', 'witness', 'is not configured', 'name a bucket or a folder in merit.yaml (docs/audit.md)'),
    ]);
  };
  const view = async (nowMs: number, known?: WitnessRecord): Promise<View> => {
    const { place } = store();
    const newest = known ?? (await newestWitness(store()));
    const check = await checkTrail(db, store(), newest);
    const lag = await db.asEngine((tx) => witnessLag(tx, newest, nowMs));
    const checkpoint = newest?.kind === 'checkpoint' ? newest.checkpoint : undefined;
    return {
      place,
      generation: newest?.generation ?? null,
      witnessed: checkpoint?.treeSize ?? 0,
      at: checkpoint === undefined ? null : formatRfc3339(checkpoint.atMs),
      keyId: checkpoint?.keyId ?? null,
      trail: check.size,
      verdict: check.kind,
      lagEvents: lag.events,
      lagSeconds: lag.seconds,
    };
  };
  return {
    witness: (caller) => view(caller.nowMs),
    pushWitness: async (caller) => {
      await awaitRecorded(db);
      const { record, pushed } = await pushWitness(db, store());
      return { ...(await view(caller.nowMs, record)), pushed };
    },
    witnessRecords: async function* () {
      for await (const { bytes } of store().entries()) yield bytes;
    },
  };
}

const NOT_ROTATED: Partial<Record<RotationOutcome, readonly [problem: string, mend: string]>> = {
  in_use: ['is the key in use already', 'name another one, or take it for signer'],
  retired: ['was in use before, and no key comes back', 'make another one'],
  another_asked: ['is another key than the one that was asked for before', 'wait until that one is in use'],
};

function refused(problem: string, mend: string): RefusedInput {
  return new RefusedInput([refuse('signer_next', 'signer.next', problem, mend)]);
}

function keyView({ keyId, algorithm, state, validFromMs, validToMs }: KnownKey): View {
  const time = (ms: number | undefined) => (ms === undefined ? null : formatRfc3339(ms));
  return { id: keyId, algorithm, state, validFrom: time(validFromMs), validTo: time(validToMs) };
}
