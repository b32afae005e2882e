import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { verifyConsistency } from '../../../core/merkle.ts';
import { formatRfc3339 } from '../../../core/rfc3339.ts';
import { verifyNote } from '../../../ledger/audit/checkpoint.ts';
import type { Roots } from '../../../ledger/audit/roots.ts';
import { WitnessGenerations } from '../../../ledger/audit/witness-generations.ts';
import { type CheckpointRecord, readWitness } from '../../../ledger/audit/witness-record.ts';
import type { WitnessStore } from '../../../platform/witness-store.ts';
import { readRoots } from '../audit-files.ts';
import { connect } from '../client.ts';
import { CliError, EXIT, usage } from '../exit.ts';
import { writeOutputStream } from '../files.ts';
import type { Invocation } from '../invocation.ts';
import { facts, type Row, type Shape, showOne } from '../render.ts';
import { s3PlaceOf } from '../s3-place.ts';
import type { Format } from '../values.ts';

const PATH = '/v1/audit/witness';
const JSONL = { accept: 'application/jsonl, application/problem+json' };

/** What the witness has seen. Exit 12 where the chain is shorter or another one; with --from its records alone are checked: 10 where one does not hold. */
export default async function auditWitness(invocation: Invocation): Promise<number> {
  const { io, options } = invocation;
  if (options.from !== undefined) return readFrom(invocation, String(options.from));
  if (options.roots !== undefined)
    throw usage(
      '--roots is of records that are read with --from',
      'merit audit witness --from PLACE --roots roots.json',
    );
  const client = await connect(invocation);
  const seen =
    options.push === true ? await client.json<Row>('POST', `${PATH}:push`) : await client.json<Row>('GET', PATH);
  if (options.out !== undefined) {
    await writeOutputStream(io, String(options.out), await client.stream('/v1/audit/witness-records', JSONL));
    io.note(`written: ${String(options.out)}`);
  }
  await show(invocation, seen);
  return seen.verdict === 'holds' ? EXIT.ok : EXIT.shorterThanWitness;
}

async function show({ io, options }: Invocation, seen: Row): Promise<void> {
  await showOne(io, options.output as Format, WITNESS, seen, facts(Object.entries(seen)));
}

const WITNESS: Shape = { name: (row) => String(row.place), columns: [{ head: 'PLACE', cell: (row) => row.place }] };

/** The place itself, as a stranger reads it who may: the records stream by, each held to the one before it. */
async function readFrom(invocation: Invocation, from: string): Promise<number> {
  const { io, options } = invocation;
  const store = await placeOf(io.cwd, from);
  const roots = options.roots === undefined ? undefined : await readRoots(io, String(options.roots));
  const walk = recordWalk(roots);
  const records = walked(store, walk.take);
  if (options.out === undefined) for await (const _ of records);
  else await writeOutputStream(io, String(options.out), records);
  const seen = walk.end();
  await show(invocation, { place: store.place, ...seen });
  return seen.problem === null ? EXIT.ok : EXIT.tampered;
}

async function* walked(
  store: WitnessStore,
  take: (name: string, bytes: Uint8Array) => void,
): AsyncGenerator<Uint8Array> {
  for await (const { name, bytes } of store.entries()) {
    take(name, bytes);
    yield bytes;
  }
}

/** Newest first: each record's proof leads to the one that comes next. */
function recordWalk(roots: Roots | undefined) {
  let newest: CheckpointRecord | undefined;
  let later: CheckpointRecord | undefined;
  const generations = new WitnessGenerations();
  let records = 0;
  let generation = 0;
  let problem: string | null = null;
  const tell = (text: string) => {
    problem ??= text;
  };
  const take = (name: string, bytes: Uint8Array) => {
    records++;
    const record = readWitness(bytes);
    if (record === undefined) return tell(`${name} is no record of Merit`);
    generations.take(record);
    generation ||= record.generation;
    if (record.kind === 'restart') return;
    // Of a generation that was left behind nothing counts, and its keys may have windows that nobody knows any more.
    if (record.generation === generation) newest ??= record;
    if (roots !== undefined && record.generation === generation) {
      const check = verifyNote(record.note, roots);
      if (!check.ok) tell(`${name} ${check.problem}`);
    }
    if (later !== undefined && later.generation === record.generation && !extendsIt(later, record))
      tell(`${name} is not what the record after it goes on from`);
    later = record;
  };
  return {
    take,
    end: () => ({
      records,
      generation: generation === 0 ? null : generation,
      witnessed: newest?.checkpoint.treeSize ?? 0,
      at: newest === undefined ? null : formatRfc3339(newest.checkpoint.atMs),
      keyId: newest?.checkpoint.keyId ?? null,
      problem: problem ?? generations.problem() ?? null,
    }),
  };
}

function extendsIt(later: CheckpointRecord, before: CheckpointRecord): boolean {
  const [a, b] = [before.checkpoint, later.checkpoint];
  return (
    later.previous === a.treeSize && verifyConsistency(a.treeSize, b.treeSize, a.rootHash, b.rootHash, later.proof)
  );
}

async function placeOf(cwd: string, from: string): Promise<WitnessStore> {
  const s3 = s3PlaceOf(from);
  if (s3 !== undefined) {
    const { openS3Witness } = await import('../../../platform/witness-s3.ts');
    return openS3Witness({ ...s3, retentionMs: 0 });
  }
  const info = await stat(resolve(cwd, from)).catch(() => undefined);
  if (info?.isDirectory() !== true)
    throw new CliError(EXIT.badValue, 'folder', `${JSON.stringify(from)} is no folder`, { mend: 'check the path' });
  const { openFileWitness } = await import('../../../platform/witness-files.ts');
  return openFileWitness({ dir: resolve(cwd, from) });
}
