import { beforeAll, describe, expect, test } from 'vitest';
import { parseNote, signCheckpoint } from '../../ledger/audit/checkpoint.ts';
import { stateReader } from '../../ledger/audit/coverage.ts';
import { exportBundle } from '../../ledger/audit/export.ts';
import { exportState } from '../../ledger/audit/export-state.ts';
import { askForKey, trailRoots } from '../../ledger/audit/key-history.sql.ts';
import { lineText, readLine } from '../../ledger/audit/lines.ts';
import type { Roots } from '../../ledger/audit/roots.ts';
import { sequenceOnce } from '../../ledger/audit/sequencer.ts';
import { openSigningKeys } from '../../ledger/audit/signing-keys.ts';
import { verifyFile } from '../../ledger/audit/verify.ts';
import type { Signer } from '../../platform/signer.ts';
import { p256Signer, TENANT, testSigner } from '../support/audit-story.ts';
import { dueToday, isWhole } from '../support/rotating.ts';
import { newTrail } from '../support/trail.ts';

/**
 * Everything that can be done to a small exported bundle, each found with its exit code: 11 where the file does not begin with `{`, ends within a line
 * or has fewer events than its header says, 10 for any other difference. `npm test` does a fifth of it, another one each day.
 */

const retired = testSigner();
const current = p256Signer();
let bytes: Buffer;
let lines: readonly string[];
let roots: Roots;
beforeAll(async () => {
  const trail = await newTrail(retired);
  try {
    const { db, clock } = trail;
    for (let i = 0; i < 2; i++) await trail.seal(1);
    const keys = await openSigningKeys(db, retired, current);
    await db.asEngine((tx) => askForKey(tx, { tenant: TENANT, actor: 'ops', traceId: '' }, current));
    await sequenceOnce(db, 0n, keys.signer, clock, { keys });
    for (let i = 0; i < 2; i++) {
      await trail.write(1);
      await sequenceOnce(db, 0n, keys.signer, { ...clock, now: () => clock.now() + (i + 1) * 1_000 }, { keys });
    }
    bytes = Buffer.from((await Array.fromAsync(exportBundle(db))).join(''));
    lines = bytes.toString().split(/(?<=\n)/);
    roots = await db.asEngine(trailRoots);
  } finally {
    await trail.own.close();
  }
});

const codeOf = (file: Uint8Array | string) => verifyFile(Buffer.from(file), roots).code;
const all = (length: number) => Array.from({ length }, (_, i) => i);

test('the bundle holds: five events, five checkpoints, two keys', () => {
  expect(verifyFile(bytes, roots)).toMatchObject({
    code: 0,
    findings: [],
    summary: { events: 5, checkpoints: 5, keyIds: [current.keyId, retired.keyId] },
  });
});

/** Whole, it is ten thousands of checks. */
const WHOLE_LIMIT_MS = 1_200_000;

describe('is found', { timeout: WHOLE_LIMIT_MS }, () => {
  test('a byte that was flipped, each of them: 11 for the first and the last, else 10', () => {
    const masks = isWhole ? [0x01, 0x80] : [0x01];
    for (const at of dueToday(all(bytes.length))) {
      for (const mask of masks) {
        const changed = Buffer.from(bytes);
        changed[at] = changed[at]! ^ mask;
        expect(codeOf(changed), `byte ${at}, mask ${mask}`).toBe(at === 0 || at === bytes.length - 1 ? 11 : 10);
      }
    }
  });

  test('a byte that was taken out or put in, each of them', () => {
    for (const at of dueToday(all(bytes.length))) {
      const without = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1)]);
      // Of two like bytes side by side it is the same file, whichever one is gone.
      expect(codeOf(without), `without byte ${at}`).toBe(at === 0 || at === bytes.length - 1 ? 11 : 10);
      const with_ = Buffer.concat([bytes.subarray(0, at), Buffer.from(' '), bytes.subarray(at)]);
      expect(codeOf(with_), `with a blank before byte ${at}`).toBe(at === 0 ? 11 : 10);
    }
  });

  test('a cut, after each byte: 11', () => {
    for (const length of dueToday(all(bytes.length)))
      expect(codeOf(bytes.subarray(0, length)), `${length} of ${bytes.length} bytes`).toBe(11);
  });

  test('an event that was dropped, each of them, also where the header is made to fit', () => {
    const events = all(lines.length).filter((i) => lines[i]!.includes('"type":"event"'));
    expect(events).toHaveLength(5);
    for (const at of events) {
      const less = lines.toSpliced(at, 1);
      expect(codeOf(less.join('')), `line ${at + 1}`).toBe(at === lines.length - 1 ? 11 : 10);
      const header = less[0]!.replace('"events":5', '"events":4').replace('"treeSize":5', '"treeSize":4');
      expect(codeOf([header, ...less.slice(1)].join('')), `line ${at + 1}, and the header`).toBe(10);
    }
  });

  test('a line that was dropped, swapped with any other, or written twice', () => {
    for (const [i, line] of lines.entries()) {
      if (i < lines.length - 1) expect(codeOf(lines.toSpliced(i, 1).join('')), `without line ${i + 1}`).toBe(10);
      expect(codeOf(lines.toSpliced(i, 0, line).join('')), `line ${i + 1} twice`).toBe(10);
      for (let j = i + 1; j < lines.length; j++)
        expect(codeOf(lines.with(i, lines[j]!).with(j, line).join('')), `lines ${i + 1} and ${j + 1}`).toBe(10);
    }
  });

  test('a checkpoint that was signed anew, each of them, with the other key or one of nobody, at any time', async () => {
    for (const [i, line] of lines.entries()) {
      const { note } = JSON.parse(line) as { note?: string };
      if (note === undefined) continue;
      const { origin, treeSize, rootHash, atMs, keyId } = parseNote(note)!.checkpoint;
      const sign = async (signer: Signer, at: number) => {
        const forged = await signCheckpoint(signer, { origin, treeSize, rootHash, atMs: at });
        return codeOf(lines.with(i, lineText({ type: 'checkpoint', note: forged })).join(''));
      };
      const other = keyId === retired.keyId ? current : retired;
      for (const at of [atMs, atMs - 500, atMs - 10_000, atMs + 500, atMs + 10_000]) {
        expect(await sign(other, at), `line ${i + 1} by ${other.keyId} at ${at - atMs}`).toBe(10);
        expect(await sign(testSigner(), at), `line ${i + 1} by a stranger at ${at - atMs}`).toBe(10);
      }
    }
  });
});

describe('a state export', () => {
  const state = async (rows: readonly string[]) => {
    const reader = stateReader();
    const text = [
      '{"at":"x","format":"merit-state/1","type":"header"}',
      ...rows,
      `{"rows":${rows.length},"type":"end"}`,
    ];
    for (const line of text) {
      const read = readLine(Buffer.from(line));
      if (typeof read === 'string') throw new Error(read);
      expect(reader.push(read)).toBeUndefined();
    }
    return reader.end()!;
  };
  const booking = (value: string, version: number) =>
    `{"id":"b1","state":"${value}","tenant":"acme","type":"booking","version":${version}}`;

  test('that knows of a booking or decision which no event tells of is not covered: 11', async () => {
    const covering = async (rows: readonly string[]) => verifyFile(bytes, roots, { coverage: await state(rows) });
    expect((await covering([])).code).toBe(0);
    expect(await covering([booking('waiting', 1)])).toMatchObject({ code: 11, findings: [{ field: 'state' }] });
    expect((await covering(['{"event":"0000","tenant":"acme","type":"decision"}'])).code).toBe(11);
    const { id } = (JSON.parse(lines.at(-1)!) as { event: { id: string } }).event;
    expect((await covering([`{"event":"${id}","tenant":"acme","type":"decision"}`])).code).toBe(0);
  });

  test('that is cut or changed is not believed itself', async () => {
    const reader = stateReader();
    expect(reader.push({ type: 'header', format: 'merit-state/1', at: 'x' })).toBeUndefined();
    expect(reader.end()).toBeUndefined();
    expect(reader.push({ type: 'end', rows: 1 })).toContain('where 0 are');
    expect(stateReader().push({ type: 'header', format: 'other' })).toContain('merit-state/1');
  });

  test('of an empty installation is covered by anything', async () => {
    const trail = await newTrail();
    try {
      const rows = await Array.fromAsync(exportState(trail.db, 'x'));
      expect(rows).toHaveLength(2);
    } finally {
      await trail.own.close();
    }
  });
});
