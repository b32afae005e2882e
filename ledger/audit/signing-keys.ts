import { assert } from '../../core/assert.ts';
import type { Clock } from '../../platform/clock.ts';
import type { Database } from '../../platform/postgres.ts';
import type { Signer } from '../../platform/signer.ts';
import { type HeldKeys, heldKey, noteFirstKey, readKeys } from './key-history.sql.ts';

/** Between two looks at which key is in use; well within KEY_OVERLAP_MS. */
const KEYS_LOOK_MS = 5_000;

/** The keys that this process has, and which of them is in use. */
export interface SigningKeys extends HeldKeys {
  /** Signs with the key in use at that moment; its members are read together with the call. Refuses where this process does not have it. */
  readonly signer: Signer;
  /** The one to go over to, where the configuration names one. */
  readonly next: Signer | undefined;
  /** Looks again, until `signal`. */
  follow(clock: Clock, signal: AbortSignal): Promise<void>;
}

/**
 * Notes the first key of a trail. Throws OperatingError `part-missing` where the trail is signed by a key that this process does not have: another key
 * comes into use by a rotation, never by a change of the configuration.
 */
export async function openSigningKeys(
  db: Pick<Database, 'asEngine'>,
  current: Signer,
  next: Signer | undefined,
): Promise<SigningKeys> {
  await noteFirstKey(db, current);
  const own = new Map([current, ...(next === undefined ? [] : [next])].map((signer) => [signer.keyId, signer]));
  const held = (keyId: string) => own.get(keyId);
  const look = async () => {
    const keys = await db.asEngine(readKeys);
    const inUse = keys.find((key) => key.state === 'in_use');
    assert(inUse !== undefined, 'of a trail with keys one is in use');
    return inUse.keyId;
  };
  let inUse = await look();
  heldKey({ held }, inUse);
  const now = () => heldKey({ held }, inUse);
  return {
    held,
    next: next === undefined || next.keyId === current.keyId ? undefined : next,
    signer: {
      get keyId() {
        return now().keyId;
      },
      get algorithm() {
        return now().algorithm;
      },
      get publicKey() {
        return now().publicKey;
      },
      sign: async (bytes) => now().sign(bytes),
    },
    follow: async (clock, signal) => {
      while (!signal.aborted) {
        await clock.sleep(KEYS_LOOK_MS, signal);
        // The database is away: the key that was in use is taken to be it still.
        inUse = await look().catch(() => inUse);
      }
    },
  };
}
