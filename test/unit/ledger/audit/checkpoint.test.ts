import { describe, expect, test } from 'vitest';
import { leafHash } from '../../../../core/merkle.ts';
import { signCheckpoint, verifyNote } from '../../../../ledger/audit/checkpoint.ts';
import { parseRoots, rootsText } from '../../../../ledger/audit/roots.ts';
import type { Signer } from '../../../../platform/signer.ts';
import { p256Signer, rootsOf, testSigner } from '../../../support/audit-story.ts';

const AT_MS = Date.UTC(2026, 10, 23, 10);
const unsigned = { origin: 'merit/audit', treeSize: 1_234, rootHash: leafHash(Buffer.from('x')), atMs: AT_MS };
const pinned = (signer: Signer) => rootsText([...rootsOf(signer).keys.values()]);

describe('a checkpoint', () => {
  test.each([
    ['Ed25519', testSigner()],
    ['ECDSA P-256', p256Signer()],
  ])('signed with %s verifies by roots read from their file, and no byte of it can change', async (_, signer) => {
    const reading = parseRoots(Buffer.from(pinned(signer)));
    if (!reading.ok) throw new Error(reading.refusal.problem);
    const note = await signCheckpoint(signer, unsigned);
    expect(note.split('\n').slice(0, 2)).toEqual(['merit/audit', '1234']);
    expect(verifyNote(note, reading.roots)).toEqual({ ok: true, checkpoint: { ...unsigned, keyId: signer.keyId } });
    for (let at = 0; at < note.length; at++) {
      const changed = note.slice(0, at) + String.fromCharCode(note.charCodeAt(at) ^ 1) + note.slice(at + 1);
      expect(verifyNote(changed, reading.roots).ok, `character ${at}`).toBe(false);
    }
    expect(verifyNote(`${note}\n`, reading.roots).ok).toBe(false);
  });

  test('of a signer that returns something else is not written', async () => {
    const signer = testSigner();
    const broken = { ...signer, sign: testSigner().sign };
    await expect(signCheckpoint(broken, unsigned)).rejects.toMatchObject({ code: 'bad-reply' });
  });

  test('by a key pinned for another time, or with another algorithm, does not count', async () => {
    const signer = testSigner();
    const note = await signCheckpoint(signer, unsigned);
    const [key] = rootsOf(signer).keys.values();
    const of = (change: object) => ({ keys: new Map([[key!.keyId, { ...key!, ...change }]]) });
    expect(verifyNote(note, of({})).ok).toBe(true);
    expect(verifyNote(note, of({ validFromMs: AT_MS + 1 })).ok).toBe(false);
    expect(verifyNote(note, of({ validToMs: AT_MS })).ok).toBe(false);
    expect(verifyNote(note, of({ validToMs: AT_MS + 1 })).ok).toBe(true);
  });
});

describe('a roots file', () => {
  const good = JSON.parse(pinned(testSigner())) as { keys: Record<string, unknown>[] };
  const withKey = (change: object) => JSON.stringify({ ...good, keys: [{ ...good.keys[0], ...change }] });

  test('with all its keys sound is read back as written', () => {
    const signer = testSigner();
    const reading = parseRoots(Buffer.from(pinned(signer)));
    expect(reading.ok && [...reading.roots.keys.keys()]).toEqual([signer.keyId]);
  });

  test.each([
    ['empty', ''],
    ['of another format', JSON.stringify({ ...good, format: 'other' })],
    ['pinning nothing', JSON.stringify({ ...good, keys: [] })],
    [
      'with a key of small order',
      withKey({ publicKey: Buffer.from(`01${'00'.repeat(31)}`, 'hex').toString('base64') }),
    ],
    ['with a key id that is another key’s', withKey({ keyId: 'ed25519:0000000000000000' })],
    ['with an algorithm nobody knows', withKey({ algorithm: 'rsa' })],
    ['with an Ed25519 key called ECDSA', withKey({ algorithm: 'ecdsa-p256-sha256' })],
    ['with a window that ends before it begins', withKey({ validTo: '2000-01-01T00:00:00.000Z' })],
    ['with loose base64', withKey({ publicKey: `${String(good.keys[0]!.publicKey)}\n` })],
    ['with a member too many', withKey({ note: 'x' })],
    ['with a key twice', JSON.stringify({ ...good, keys: [good.keys[0], good.keys[0]] })],
  ])('%s is refused', (_, text) => {
    expect(parseRoots(Buffer.from(text)).ok).toBe(false);
  });
});
