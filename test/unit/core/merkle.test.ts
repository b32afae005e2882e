import { describe, expect, test } from 'vitest';
import {
  appendLeaves,
  consistencyProof,
  EMPTY_RANGE,
  emptyRoot,
  foldNodes,
  type Hash,
  inclusionProof,
  inclusionRanges,
  leafHash,
  nodesOfRange,
  rootOf,
  rootOfRange,
  sameHash,
  verifyConsistency,
  verifyInclusion,
} from '../../../core/merkle.ts';

/** Leaves, roots and paths of certificate-transparency-go/merkletree, the vectors of RFC 6962's reference code. */
const VECTOR_LEAVES = [
  '',
  '00',
  '10',
  '2021',
  '3031',
  '40414243',
  '5051525354555657',
  '606162636465666768696a6b6c6d6e6f',
].map((text) => leafHash(Buffer.from(text, 'hex')));

const VECTOR_ROOTS = [
  '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
  'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
  'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
  'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
  '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
  '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
  'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
  '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
];

const MAX_SIZE = 130;
const leaves: Hash[] = Array.from({ length: MAX_SIZE }, (_, i) => leafHash(Buffer.from(`leaf ${i}`)));
const roots = Array.from({ length: MAX_SIZE + 1 }, (_, n) => rootOf(leaves.slice(0, n)));
const hex = (hash: Hash) => Buffer.from(hash).toString('hex');
const flipped = (hash: Hash) => Uint8Array.from(hash, (byte, i) => (i === 7 ? byte ^ 1 : byte));

describe('RFC 6962 test vectors', () => {
  test('the empty tree hashes to SHA-256 of nothing', () => {
    expect(hex(emptyRoot())).toBe('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
    expect(hex(rootOf([]))).toBe(hex(emptyRoot()));
  });

  test('every tree size has its published root', () => {
    for (const [i, root] of VECTOR_ROOTS.entries()) expect(hex(rootOf(VECTOR_LEAVES.slice(0, i + 1)))).toBe(root);
  });

  test('a published audit path is built as printed', () => {
    expect(inclusionProof(VECTOR_LEAVES.slice(0, 8), 5).map(hex)).toEqual([
      'bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b',
      'ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0',
      'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
    ]);
    expect(consistencyProof(VECTOR_LEAVES.slice(0, 8), 6).map(hex)).toEqual([
      '0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a',
      'ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0',
      'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
    ]);
  });
});

describe('inclusion', () => {
  test('every leaf of every tree up to 130 is proved, and by nothing else', () => {
    for (let size = 1; size <= MAX_SIZE; size++) {
      const tree = leaves.slice(0, size);
      const root = roots[size]!;
      for (let index = 0; index < size; index++) {
        const proof = inclusionProof(tree, index);
        const leaf = leaves[index]!;
        expect(verifyInclusion(leaf, index, size, proof, root)).toBe(true);
        const wrong = [
          size > 1 && verifyInclusion(leaf, (index + 1) % size, size, proof, root),
          verifyInclusion(flipped(leaf), index, size, proof, root),
          verifyInclusion(leaf, index, size, proof, flipped(root)),
          verifyInclusion(leaf, index, size, [...proof, leaf], root),
        ];
        expect(wrong).not.toContain(true);
      }
    }
  });

  test('a proof with any hash changed or left out fails', () => {
    for (const size of [2, 3, 7, 8, 9, 64, 65, 127, 130]) {
      const tree = leaves.slice(0, size);
      for (const index of [0, size >> 1, size - 1]) {
        const proof = inclusionProof(tree, index);
        for (const [at, hash] of proof.entries()) {
          expect(verifyInclusion(leaves[index]!, index, size, proof.with(at, flipped(hash)), roots[size]!)).toBe(false);
          expect(verifyInclusion(leaves[index]!, index, size, proof.toSpliced(at, 1), roots[size]!)).toBe(false);
        }
      }
    }
  });

  test('an index outside the tree proves nothing', () => {
    expect(verifyInclusion(leaves[0]!, 1, 1, [], roots[1]!)).toBe(false);
    expect(verifyInclusion(leaves[0]!, -1, 1, [], roots[1]!)).toBe(false);
    expect(verifyInclusion(leaves[0]!, 0.5, 1, [], roots[1]!)).toBe(false);
    expect(verifyInclusion(leaves[0]!, 0, 2 ** 60, [], roots[1]!)).toBe(false);
  });
});

describe('consistency', () => {
  test('every tree up to 130 extends every smaller one, and no other', () => {
    for (let size = 1; size <= MAX_SIZE; size++) {
      const tree = leaves.slice(0, size);
      for (let old = 1; old <= size; old++) {
        const proof = consistencyProof(tree, old);
        expect(verifyConsistency(old, size, roots[old]!, roots[size]!, proof)).toBe(true);
        if (old < size) {
          expect(verifyConsistency(old, size, flipped(roots[old]!), roots[size]!, proof)).toBe(false);
          expect(verifyConsistency(old, size, roots[old]!, flipped(roots[size]!), proof)).toBe(false);
          expect(verifyConsistency(old, size, roots[old]!, roots[size]!, [...proof, roots[1]!])).toBe(false);
        }
      }
    }
  });

  test('a proof with any hash changed or left out fails', () => {
    for (const size of [3, 7, 8, 9, 64, 65, 127, 130]) {
      const tree = leaves.slice(0, size);
      for (let old = 1; old < size; old++) {
        const proof = consistencyProof(tree, old);
        for (const [at, hash] of proof.entries()) {
          expect(verifyConsistency(old, size, roots[old]!, roots[size]!, proof.with(at, flipped(hash)))).toBe(false);
          expect(verifyConsistency(old, size, roots[old]!, roots[size]!, proof.toSpliced(at, 1))).toBe(false);
        }
      }
    }
  });

  test('the empty tree is extended by all, a smaller tree extends none', () => {
    expect(verifyConsistency(0, 5, emptyRoot(), roots[5]!, [])).toBe(true);
    expect(verifyConsistency(0, 5, roots[1]!, roots[5]!, [])).toBe(false);
    expect(verifyConsistency(6, 5, roots[6]!, roots[5]!, [])).toBe(false);
    expect(verifyConsistency(5, 5, roots[5]!, roots[5]!, [roots[1]!])).toBe(false);
  });
});

describe('stored nodes', () => {
  test('appending in any portions gives the root of the whole list', () => {
    for (const step of [1, 2, 3, 7, 64, 130]) {
      let range = EMPTY_RANGE;
      for (let at = 0; at < MAX_SIZE; at += step) {
        range = appendLeaves(range, leaves.slice(at, at + step)).range;
        expect(sameHash(rootOfRange(range), roots[range.size]!)).toBe(true);
      }
    }
    expect(sameHash(rootOfRange(EMPTY_RANGE), emptyRoot())).toBe(true);
  });

  test('a proof read from stored nodes equals the one computed from leaves', () => {
    const stored = new Map<string, Hash>();
    const { nodes } = appendLeaves(EMPTY_RANGE, leaves);
    for (const { level, index, hash } of nodes) stored.set(`${level}/${index}`, hash);
    for (let size = 1; size <= MAX_SIZE; size++) {
      for (let index = 0; index < size; index++) {
        const proof = inclusionRanges(index, size).map((range) =>
          foldNodes(nodesOfRange(range).map(({ level, index: at }) => stored.get(`${level}/${at}`)!)),
        );
        expect(verifyInclusion(leaves[index]!, index, size, proof, roots[size]!)).toBe(true);
      }
    }
  });
});
