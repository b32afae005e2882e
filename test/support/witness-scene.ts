import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect } from 'vitest';
import { openTrailWitness } from '../../api/roles/witness.ts';
import { witnessedReader } from '../../ledger/audit/bundle-witness.ts';
import { exportBundle } from '../../ledger/audit/export.ts';
import { trailRoots } from '../../ledger/audit/key-history.sql.ts';
import type { Roots } from '../../ledger/audit/roots.ts';
import { latestNote } from '../../ledger/audit/sequencer.ts';
import { witnessBytes, witnessName } from '../../ledger/audit/witness-record.ts';
import { openFileWitness } from '../../platform/witness-files.ts';
import type { WitnessStore } from '../../platform/witness-store.ts';
import { TENANT, testSigner } from './audit-story.ts';
import { newTrail, type Trail } from './trail.ts';

/** What each test of the witness has: a folder, a witness in it, and trails under one key. */

export let dir: string;
export let store: WitnessStore;
/** Where the witness is: `dir`, unless a test moves it to a folder in there. */
let place: string;
let trails: Trail[];

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'merit-witness-'));
  await witnessAt(dir);
  trails = [];
});
afterEach(async () => {
  for (const { own } of trails) await own.close();
  await rm(dir, { recursive: true });
});

export async function witnessAt(folder: string): Promise<void> {
  place = folder;
  store = await openFileWitness({ dir: folder });
}

const signer = testSigner();
export async function trail(word?: string, by = signer): Promise<Trail> {
  const made = await newTrail(by, word);
  trails.push(made);
  return made;
}
export const rootsOf = ({ db }: Trail): Promise<Roots> => db.asEngine(trailRoots);
export const bundleOf = async ({ db }: Trail) => (await Array.fromAsync(exportBundle(db))).join('');
export async function witnessed(roots: Roots) {
  const reader = witnessedReader(roots);
  for await (const { bytes } of store.entries()) expect(reader.push(bytes)).toBeUndefined();
  return reader.end();
}
export const start = ({ db, clock }: Trail, restart?: string) =>
  openTrailWitness({
    db,
    clock,
    config: { place: { kind: 'files', dir: place }, everyMs: 60_000 },
    tenant: TENANT,
    restart,
    watch: { lag: () => {}, failed: () => {} },
  });
export const failing = (work: Promise<unknown>) => work.then(() => undefined).catch((error: unknown) => error);

/** The newest checkpoint of a trail, as if a generation had begun with it. */
export async function putUnder(generation: number, of: Trail): Promise<void> {
  const { note, ...checkpoint } = (await of.db.asEngine(latestNote))!;
  const record = { kind: 'checkpoint', generation, note, checkpoint, previous: 0, proof: [] } as const;
  await store.put(witnessName(record), witnessBytes(record));
}
