import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { DedupEntries } from '../../../../scoring/ingest/dedup-entries.ts';
import { type DedupEntry, KEY_WORDS, packBlocks } from '../../../../scoring/ingest/dedup-index.ts';

const OWNERS = [
  { tenant: 't', suite: 'a' },
  { tenant: 't', suite: 'b' },
] as const;

/** Every seventh key agrees with the others of its kind in its first eight bytes. */
function entry(i: number): DedupEntry {
  const hash = (text: string) => createHash('sha256').update(text).digest();
  const key = hash(`key ${i}`).subarray(0, 16);
  if (i % 7 === 0) hash('one').copy(key, 0, 0, 8);
  return { key, digest: hash(`content ${i}`), observedAtMs: 1_700_000_000_000 - ((i * 7919) % 5000) - (i % 2) * 2e12 };
}

test.each([undefined, 0, 1, 2900, 3000])(
  'packed from columns, the reports of a flush are the blocks that packing them one by one gives, with room for %s',
  (room) => {
    const columns = new DedupEntries(room);
    const owners = OWNERS.map((owner) => columns.owner(owner));
    const all = Array.from({ length: 3000 }, (_, i) => ({ ...entry(i), owner: i % 3 === 0 ? 1 : 0 }));
    for (const one of all) {
      const words = columns.wordsOf(one);
      expect(columns.find(words, 0, words, KEY_WORDS)).toBe('new');
      columns.add(words, 0, words, KEY_WORDS, one.observedAtMs, owners[one.owner]!);
    }
    const plain = (blocks: ReturnType<typeof packBlocks>) =>
      blocks.map((block) => ({ ...block, block: Buffer.from(block.block).toString('hex') }));
    expect(plain(columns.blocks())).toEqual(plain(packBlocks(all.map((one) => ({ ...one, ...OWNERS[one.owner]! })))));
  },
);

test('a report of the flush is told from one of other content by all of its digest', () => {
  const columns = new DedupEntries();
  const one = entry(1);
  const words = columns.wordsOf(one);
  columns.add(words, 0, words, KEY_WORDS, one.observedAtMs, columns.owner(OWNERS[0]));
  expect(columns.find(words, 0, words, KEY_WORDS)).toBe('same');
  const digest = Buffer.from(one.digest);
  digest[31]! ^= 1;
  const other = columns.wordsOf({ ...one, digest });
  expect(columns.find(other, 0, other, KEY_WORDS)).toBe('other');
});
