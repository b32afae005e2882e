import { createHash } from 'node:crypto';
import { assert } from './assert.ts';

/**
 * The Merkle tree of RFC 6962 section 2.1, over SHA-256. Pure; hashes are 32 bytes, leaves are numbered from 0.
 *
 * Node (level, index) is the hash of the leaves [index·2^level, (index+1)·2^level): it never changes once those leaves
 * exist, so every proof can be read from stored nodes in O(log n).
 */

export type Hash = Uint8Array;

/** Half-open: leaves `begin` up to and without `end`. */
export interface LeafRange {
  readonly begin: number;
  readonly end: number;
}

export interface NodeAddress {
  readonly level: number;
  readonly index: number;
}

/** The largest tree: 2^48 leaves, well inside the integers a double holds exactly. */
const MAX_LEVEL = 48;

/** MTH({d}) = SHA-256(0x00 ‖ d). */
export function leafHash(data: Uint8Array): Hash {
  return createHash('sha256').update(LEAF_PREFIX).update(data).digest();
}

/** SHA-256(0x01 ‖ left ‖ right). */
export function nodeHash(left: Hash, right: Hash): Hash {
  return createHash('sha256').update(NODE_PREFIX).update(left).update(right).digest();
}

const LEAF_PREFIX = Uint8Array.of(0);
const NODE_PREFIX = Uint8Array.of(1);

/** MTH({}) = SHA-256(). */
export function emptyRoot(): Hash {
  return createHash('sha256').digest();
}

export function sameHash(a: Hash, b: Hash): boolean {
  return Buffer.compare(a, b) === 0;
}

/** The largest power of two smaller than `n` (n ≥ 2): where RFC 6962 splits a tree. */
function splitOf(n: number): number {
  let k = 1;
  while (k * 2 < n) k *= 2;
  return k;
}

/** The ranges whose hashes are the audit path of leaf `index` in a tree of `size`, from the leaf up (RFC 6962 2.1.1). */
export function inclusionRanges(index: number, size: number): LeafRange[] {
  assert(Number.isSafeInteger(size) && index >= 0 && index < size, 'inclusionRanges: the leaf is not in the tree');
  const path: LeafRange[] = [];
  let begin = 0;
  let end = size;
  while (end - begin > 1) {
    const middle = begin + splitOf(end - begin);
    if (index < middle) {
      path.push({ begin: middle, end });
      end = middle;
    } else {
      path.push({ begin, end: middle });
      begin = middle;
    }
  }
  return path.reverse();
}

/** The ranges whose hashes prove that the tree of `size` extends the one of `oldSize` (RFC 6962 2.1.2); 0 < oldSize ≤ size. */
export function consistencyRanges(oldSize: number, size: number): LeafRange[] {
  assert(Number.isSafeInteger(size) && oldSize > 0 && oldSize <= size, 'consistencyRanges: 0 < old size ≤ size');
  const proof: LeafRange[] = [];
  let begin = 0;
  let end = size;
  // True while the old tree is a whole subtree whose hash the verifier has.
  let whole = true;
  while (oldSize !== end) {
    const middle = begin + splitOf(end - begin);
    if (oldSize <= middle) {
      proof.push({ begin: middle, end });
      end = middle;
    } else {
      proof.push({ begin, end: middle });
      begin = middle;
      whole = false;
    }
  }
  if (!whole) proof.push({ begin, end });
  return proof.reverse();
}

/** The complete nodes that make up a range of some tree's split, left to right. `begin` is a multiple of each node's width. */
export function nodesOfRange(range: LeafRange): NodeAddress[] {
  const nodes: NodeAddress[] = [];
  let begin = range.begin;
  while (begin < range.end) {
    let level = 0;
    let width = 1;
    while (level < MAX_LEVEL && begin % (width * 2) === 0 && begin + width * 2 <= range.end) {
      width *= 2;
      level++;
    }
    nodes.push({ level, index: begin / width });
    begin += width;
  }
  return nodes;
}

/** The hash of a range from the hashes of its `nodesOfRange`: folded from the right, as RFC 6962 splits. */
export function foldNodes(hashes: readonly Hash[]): Hash {
  const last = hashes.at(-1);
  assert(last !== undefined, 'foldNodes: a range has at least one node');
  let hash = last;
  for (let i = hashes.length - 2; i >= 0; i--) hash = nodeHash(hashes[i]!, hash);
  return hash;
}

/** Root of a whole list of leaf hashes. */
export function rootOf(leaves: readonly Hash[]): Hash {
  if (leaves.length === 0) return emptyRoot();
  return rangeHash(leaves, { begin: 0, end: leaves.length });
}

function rangeHash(leaves: readonly Hash[], range: LeafRange): Hash {
  const width = range.end - range.begin;
  if (width === 1) return leaves[range.begin]!;
  const middle = range.begin + splitOf(width);
  return nodeHash(
    rangeHash(leaves, { begin: range.begin, end: middle }),
    rangeHash(leaves, { begin: middle, end: range.end }),
  );
}

export function inclusionProof(leaves: readonly Hash[], index: number): Hash[] {
  return inclusionRanges(index, leaves.length).map((range) => rangeHash(leaves, range));
}

export function consistencyProof(leaves: readonly Hash[], oldSize: number): Hash[] {
  return consistencyRanges(oldSize, leaves.length).map((range) => rangeHash(leaves, range));
}

/** True where `proof` shows that `leaf` is number `index` of the tree of `size` with this root (RFC 9162 2.1.3.2). */
export function verifyInclusion(leaf: Hash, index: number, size: number, proof: readonly Hash[], root: Hash): boolean {
  if (!Number.isSafeInteger(index) || !Number.isSafeInteger(size) || index < 0 || index >= size) return false;
  const ranges = inclusionRanges(index, size);
  if (ranges.length !== proof.length || proof.some((hash) => hash.length !== 32) || leaf.length !== 32) return false;
  let hash = leaf;
  for (const [i, sibling] of proof.entries()) {
    hash = ranges[i]!.begin > index ? nodeHash(hash, sibling) : nodeHash(sibling, hash);
  }
  return sameHash(hash, root);
}

/**
 * True where `proof` shows that the tree of `size` extends the tree of `oldSize` (RFC 9162 2.1.4.2). The empty tree is
 * extended by every tree, with an empty proof.
 */
export function verifyConsistency(
  oldSize: number,
  size: number,
  oldRoot: Hash,
  root: Hash,
  proof: readonly Hash[],
): boolean {
  if (!Number.isSafeInteger(oldSize) || !Number.isSafeInteger(size) || oldSize < 0 || oldSize > size) return false;
  if (proof.some((hash) => hash.length !== 32)) return false;
  if (oldSize === 0) return proof.length === 0 && sameHash(oldRoot, emptyRoot());
  if (oldSize === size) return proof.length === 0 && sameHash(oldRoot, root);
  const ranges = consistencyRanges(oldSize, size);
  if (ranges.length !== proof.length) return false;
  // The seed is a subtree both trees share: the old tree itself where it is one whole subtree, else the first proof hash.
  const seedGiven = ranges[0]!.end === oldSize;
  const seed = seedGiven ? proof[0]! : oldRoot;
  let oldHash = seed;
  let newHash = seed;
  for (let i = seedGiven ? 1 : 0; i < proof.length; i++) {
    const sibling = proof[i]!;
    if (ranges[i]!.begin >= oldSize) {
      newHash = nodeHash(newHash, sibling);
    } else {
      oldHash = nodeHash(sibling, oldHash);
      newHash = nodeHash(sibling, newHash);
    }
  }
  return sameHash(oldHash, oldRoot) && sameHash(newHash, root);
}

/** The tree so far, as its complete subtrees from left to right: all that is needed to go on appending. */
export interface CompactRange {
  readonly size: number;
  readonly peaks: readonly Hash[];
}

export interface StoredNode extends NodeAddress {
  readonly hash: Hash;
}

export const EMPTY_RANGE: CompactRange = { size: 0, peaks: [] };

/** Appends leaf hashes; `nodes` are all nodes that became complete, leaves included, in the order they did. */
export function appendLeaves(
  range: CompactRange,
  leaves: readonly Hash[],
): { readonly range: CompactRange; readonly nodes: StoredNode[] } {
  const peaks = [...range.peaks];
  const nodes: StoredNode[] = [];
  let size = range.size;
  for (const leaf of leaves) {
    let hash = leaf;
    let level = 0;
    let index = size;
    nodes.push({ level, index, hash });
    while (index % 2 === 1) {
      const left = peaks.pop();
      assert(left !== undefined, 'appendLeaves: the peaks do not fit the size');
      hash = nodeHash(left, hash);
      level++;
      index = (index - 1) / 2;
      nodes.push({ level, index, hash });
    }
    peaks.push(hash);
    size++;
  }
  return { range: { size, peaks }, nodes };
}

export function rootOfRange(range: CompactRange): Hash {
  return range.size === 0 ? emptyRoot() : foldNodes(range.peaks);
}
