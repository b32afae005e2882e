import { expect, test } from 'vitest';
import { toldAs } from '../../api/cli/exit.ts';
import { latestNote } from '../../ledger/audit/sequencer.ts';
import { verifyFile } from '../../ledger/audit/verify.ts';
import { newestWitness, pushWitness } from '../../ledger/audit/witness.ts';
import { readWitness, restartName, witnessBytes, witnessName } from '../../ledger/audit/witness-record.ts';
import type { WitnessStore } from '../../platform/witness-store.ts';
import type { Trail } from '../support/trail.ts';
import { bundleOf, failing, rootsOf, start, store, trail, witnessed } from '../support/witness-scene.ts';

const check = async (of: Trail) => {
  const roots = await rootsOf(of);
  return verifyFile(Buffer.from(await bundleOf(of)), roots, { witnessed: await witnessed(roots) });
};

/**
 * The server of a database that was given up was about to copy a checkpoint when the restart was written, and its write arrives after that: it was stopped, or its
 * machine hung, or the write was tried again. Of the trail that goes on, which holds the restart.
 */
async function lateCheckpoint(): Promise<Trail> {
  const [lost, restored] = [await trail(), await trail()];
  await lost.seal(9);
  await pushWitness(lost.db, store);
  await lost.seal(3);
  let arrive = () => {};
  const arrived = new Promise<void>((resolve) => {
    arrive = resolve;
  });
  let begun = () => {};
  const writes = new Promise<void>((resolve) => {
    begun = resolve;
  });
  const slow: WitnessStore = {
    ...store,
    put: async (name, bytes) => {
      begun();
      await arrived;
      await store.put(name, bytes);
    },
  };
  const late = pushWitness(lost.db, slow);
  await writes;
  await restored.seal(4);
  await start(restored, 'the machine hung; back to the backup of noon');
  arrive();
  expect(await late).toMatchObject({ pushed: true, record: { generation: 1, checkpoint: { treeSize: 12 } } });
  await restored.seal(2);
  await pushWitness(restored.db, store);
  return restored;
}

test('a checkpoint that comes late, after the restart that left its generation, is told by a check: the restart says less than was lost, and nobody knows why', async () => {
  const restored = await lateCheckpoint();
  expect(await check(restored)).toMatchObject({
    code: 10,
    findings: [
      {
        kind: 'tampered',
        problem: expect.stringMatching(
          /generation 2 leaves behind 9 events, and the one before it had seen 12: a checkpoint came late, or the restart hides what was lost/,
        ),
      },
    ],
  });
  // Nothing of the trail that goes on is missing.
  await start(restored);
});

test('once somebody has said so, with a reason, the chain holds, and all that was lost stays told', async () => {
  const restored = await lateCheckpoint();
  await start(restored, 'the bucket has it an hour after the restart: the old server wrote once more');
  const record = readWitness((await store.read(restartName(3)))!);
  expect(record).toMatchObject({
    restart: {
      abandoned: { generation: 2 },
      late: [{ generation: 1, treeSize: 12 }],
      untold: [],
      reason: expect.stringContaining('an hour after'),
    },
  });
  await restored.seal(1);
  expect(await pushWitness(restored.db, store)).toMatchObject({ pushed: true, record: { generation: 3 } });
  expect(await check(restored)).toMatchObject({ code: 0, findings: [] });
  expect(await bundleOf(restored)).toContain('"late":[{"generation":1,"treeSize":12}]');
  await start(restored);
  // And once only.
  expect(toldAs(await failing(start(restored, 'again')))).toMatchObject({
    problem: expect.stringContaining('the trail holds all that its witness has seen'),
  });
  expect(await newestWitness(store)).toMatchObject({ kind: 'checkpoint', generation: 3 });
});

test('what comes later still than what was said is told again', async () => {
  const restored = await lateCheckpoint();
  await start(restored, 'the old server wrote once more');
  await restored.seal(1);
  await pushWitness(restored.db, store);
  const other = await trail();
  await other.seal(20);
  const { note, ...checkpoint } = (await other.db.asEngine(latestNote))!;
  const record = { kind: 'checkpoint', generation: 1, note, checkpoint, previous: 0, proof: [] } as const;
  await store.put(witnessName(record), witnessBytes(record));
  expect(await check(restored)).toMatchObject({
    code: 10,
    findings: [{ problem: expect.stringContaining('had seen 20') }],
  });
});

test('a record whose late generations are none, not before it, or not in order is none', async () => {
  const restored = await lateCheckpoint();
  await start(restored, 'the old server wrote once more');
  const text = Buffer.from((await store.read(restartName(3)))!).toString();
  const late = '[{"generation":1,"treeSize":12}]';
  expect(text).toContain(`"late":${late}`);
  for (const wrong of [
    '[]',
    '{}',
    'null',
    '[1]',
    '[{"generation":3,"treeSize":12}]',
    '[{"generation":0,"treeSize":12}]',
    '[{"generation":1,"treeSize":-1}]',
    '[{"generation":1,"more":1,"treeSize":12}]',
    '[{"generation":1,"treeSize":12},{"generation":1,"treeSize":13}]',
  ])
    expect([wrong, readWitness(Buffer.from(text.replace(late, wrong)))]).toEqual([wrong, undefined]);
});
