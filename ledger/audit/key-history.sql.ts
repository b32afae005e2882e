import { OperatingError } from '../../core/operating-error.ts';
import { formatRfc3339 } from '../../core/rfc3339.ts';
import type { Database, Tx } from '../../platform/postgres.ts';
import type { Signer } from '../../platform/signer.ts';
import { appendAudit } from './append.ts';
import type { RootKey, Roots } from './roots.ts';

/**
 * The keys that signed this trail, each with its window. A key is followed by another one at a checkpoint: whoever is asked for a new key writes
 * `signer.rotated`, the old key signs the first checkpoint over that event, and every later one is the new key's.
 */

/**
 * The windows of both keys reach so far beyond the change: decisions are signed by every process, which learns of it a moment later and by a clock
 * of its own. Checkpoints are told apart by their place, not by time (bundle-keys.ts).
 */
export const KEY_OVERLAP_MS = 60_000;
const DAY_MS = 86_400_000;
/** The event, and whom it is about. */
export const ROTATED = 'signer.rotated';
const SIGNER_SUBJECT = 'installation/signer';

type PublicPart = Pick<Signer, 'keyId' | 'algorithm' | 'publicKey'>;

interface KeyRow {
  readonly key_id: string;
  readonly algorithm: Signer['algorithm'];
  readonly public_key: Buffer;
  readonly of_tenant: string | null;
  readonly actor: string | null;
  readonly trace_id: string | null;
  readonly event_id: string | null;
  readonly valid_from: Date | null;
  readonly valid_to: Date | null;
}

export type KeyState = 'in_use' | 'retired' | 'asked_for';

export interface KnownKey extends PublicPart {
  readonly state: KeyState;
  readonly validFromMs: number | undefined;
  readonly validToMs: number | undefined;
}

/** All of them, the oldest first. The engine's transaction. */
export async function readKeys(tx: Tx): Promise<readonly KnownKey[]> {
  const rows = await tx.query<KeyRow>('select * from signer_keys order by asked_at');
  return rows.map((row) => ({
    keyId: row.key_id,
    algorithm: row.algorithm,
    publicKey: row.public_key,
    state: row.valid_from === null ? 'asked_for' : row.valid_to === null ? 'in_use' : 'retired',
    validFromMs: row.valid_from?.getTime(),
    validToMs: row.valid_to?.getTime(),
  }));
}

/** What a stranger pins: every key that ever counted, with its window. */
export function rootKeys(keys: readonly KnownKey[]): readonly RootKey[] {
  return keys.flatMap(({ keyId, algorithm, publicKey, validFromMs, validToMs }) =>
    validFromMs === undefined ? [] : [{ keyId, algorithm, publicKey, validFromMs, validToMs }],
  );
}

/** The roots that a stranger pins now. The engine's transaction. */
export async function trailRoots(tx: Tx): Promise<Roots> {
  return { keys: new Map(rootKeys(await readKeys(tx)).map((key) => [key.keyId, key])) };
}

/** The key of a trail that none was noted of yet, valid from the day of its first event. Of several processes one notes it. */
export async function noteFirstKey(
  db: Pick<Database, 'asEngine'>,
  { keyId, algorithm, publicKey }: PublicPart,
): Promise<void> {
  await db.asEngine((tx) =>
    tx.execute(
      `insert into signer_keys (key_id, algorithm, public_key, valid_from)
       select $1, $2, $3, to_timestamp(floor(extract(epoch from coalesce((select min(recorded_at) from audit_events), now())) / $4) * $4)
       where not exists (select 1 from signer_keys) on conflict do nothing`,
      [keyId, algorithm, publicKey, DAY_MS / 1000],
    ),
  );
}

export type RotationOutcome = 'asked' | 'asked_before' | 'in_use' | 'retired' | 'another_asked';

/** Notes the wish: the leader of the trail goes over with its next checkpoint. A wish for another key is taken back, as long as the trail does not tell of it. */
export async function askForKey(
  tx: Tx,
  by: { readonly tenant: string; readonly actor: string; readonly traceId: string },
  { keyId, algorithm, publicKey }: PublicPart,
): Promise<RotationOutcome> {
  const [known] = await tx.query<KeyRow>('select * from signer_keys where key_id = $1', [keyId]);
  if (known !== undefined)
    return known.valid_from === null ? 'asked_before' : known.valid_to === null ? 'in_use' : 'retired';
  await tx.execute('delete from signer_keys where valid_from is null and event_id is null');
  const noted = await tx.execute(
    `insert into signer_keys (key_id, algorithm, public_key, of_tenant, actor, trace_id) values ($1, $2, $3, $4, $5, $6) on conflict do nothing`,
    [keyId, algorithm, publicKey, by.tenant, by.actor, by.traceId],
  );
  return noted === 1 ? 'asked' : 'another_asked';
}

/** Which key signs now, and which one it is to be. */
export interface KeysNow {
  readonly inUse: string | undefined;
  readonly asked: { readonly keyId: string; readonly told: boolean } | undefined;
}

export interface HeldKeys {
  /** The signer of that key, where this process has it. */
  held(keyId: string): Signer | undefined;
}

/** That of the key, which this process must have. */
export function heldKey(keys: HeldKeys, keyId: string): Signer {
  const signer = keys.held(keyId);
  if (signer !== undefined) return signer;
  throw new OperatingError('part-missing', 'safe', 'signing the audit trail', {
    cause: `it is signed by ${keyId} now, which this process does not have`,
    mend: 'name that key in signer, and the one to come in signer.next',
  });
}

/** Writes the event of a change that was asked for, once. The leader's transaction; the next checkpoint is the old key's last. */
export async function tellRotation(tx: Tx, nowMs: number): Promise<void> {
  const [next] = await tx.query<KeyRow>(
    'select * from signer_keys where valid_from is null and event_id is null for update',
  );
  const [old] = await tx.query<KeyRow>('select * from signer_keys where valid_from is not null and valid_to is null');
  if (next === undefined || old === undefined) return;
  const { id } = await appendAudit(tx, {
    tenant: next.of_tenant ?? '',
    subject: SIGNER_SUBJECT,
    type: ROTATED,
    at: formatRfc3339(nowMs),
    actor: next.actor ?? '',
    trace: next.trace_id ?? '',
    data: {
      from: old.key_id,
      to: next.key_id,
      algorithm: next.algorithm,
      publicKey: next.public_key.toString('base64'),
    },
  });
  await tx.execute('update signer_keys set event_id = $2 where key_id = $1', [next.key_id, id]);
}

/** In the transaction that stores a checkpoint over `treeSize` events: where they tell of a change, it is made. True where it was. */
export async function completeRotation(tx: Tx, treeSize: number, atMs: number): Promise<boolean> {
  const [next] = await tx.query<{ key_id: string }>(
    `select k.key_id from signer_keys k join audit_events e on e.event_id = k.event_id
     where k.valid_from is null and e.seq < $1`,
    [treeSize],
  );
  if (next === undefined) return false;
  await tx.execute('update signer_keys set valid_to = $1 where valid_from is not null and valid_to is null', [
    new Date(atMs + KEY_OVERLAP_MS),
  ]);
  await tx.execute('update signer_keys set valid_from = $2 where key_id = $1', [
    next.key_id,
    new Date(atMs - KEY_OVERLAP_MS),
  ]);
  return true;
}
