/**
 * SHA-256 (FIPS 180-4) of many messages, four at a time: one message a 32-bit lane, so that a report costs a quarter of a scalar pass.
 * Messages are queued with their padding in place; a lane that finishes takes the next one, so unequal lengths leave no lane idle until
 * the queue runs dry.
 */
const K: usize = memory.data<u32>([
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
  0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
  0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
  0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
  0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
  0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
  0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
  0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
]);
const FIRST: usize = memory.data<u32>([
  0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
]);

/** Eight vectors a…h, one lane a message; sixteen of the message schedule. */
const STATE: usize = memory.data(128, 16);
const WORDS: usize = memory.data(256, 16);

/** A lane: the next block, the end of its blocks, where the digest goes (0: the lane is idle), its bytes. */
const LANES: usize = memory.data(64, 16);
const LANE_BYTES: usize = 16;
const BLOCK: usize = 64;
/** What an idle lane chews. */
const NOTHING: usize = memory.data(64, 16);

/** Room that a message needs behind its last byte for padding. */
export const SHA_PADDING: usize = 72;

/** The queue: place, end of the padded message, where the digest goes, how many bytes of it. */
const ENTRY: usize = 16;
let queue: usize = 0;
let queued: usize = 0;
let taken: usize = 0;

/** Messages are queued at `at`, 16 bytes each; the owner sees that there is room. */
export function useQueue(at: usize): void {
  queue = at;
}

export function queueLength(): usize {
  return queued;
}

/** Pads the message at p in place, up to SHA_PADDING bytes behind its end, and queues it. `bytes` of its digest go to `to`. */
export function queueMessage(p: usize, length: usize, to: usize, bytes: u32): void {
  const end = p + length;
  const padded = p + ((length + 8) / BLOCK + 1) * BLOCK;
  v128.store(end, v128.splat<u64>(0));
  v128.store(end + 16, v128.splat<u64>(0));
  v128.store(end + 32, v128.splat<u64>(0));
  v128.store(end + 48, v128.splat<u64>(0));
  store<u64>(end + 64, 0);
  store<u8>(end, 0x80);
  store<u64>(padded - 8, bswap<u64>(<u64>length << 3));
  const entry = queue + queued * ENTRY;
  store<usize>(entry, p);
  store<usize>(entry, padded, 4);
  store<usize>(entry, to, 8);
  store<u32>(entry, bytes, 12);
  queued++;
}

/** Gives the lane the next message, or nothing. Returns whether it works. */
function feed(lane: usize): bool {
  const at = LANES + lane * LANE_BYTES;
  if (taken == queued) {
    store<usize>(at, NOTHING);
    store<usize>(at, 0, 8);
    return false;
  }
  v128.store(at, v128.load(queue + taken * ENTRY));
  taken++;
  for (let i: usize = 0; i < 8; i++) store<u32>(STATE + (i << 4) + (lane << 2), load<u32>(FIRST + (i << 2)));
  return true;
}

function finish(lane: usize): void {
  const at = LANES + lane * LANE_BYTES;
  const to = load<usize>(at, 8);
  const words = load<usize>(at, 12) >> 2;
  for (let i: usize = 0; i < words; i++) {
    store<u32>(to + (i << 2), bswap<u32>(load<u32>(STATE + (i << 4) + (lane << 2))));
  }
}

/** Hashes everything queued and empties the queue. */
export function hashQueued(): void {
  taken = 0;
  let working: u32 = 0;
  for (let lane: usize = 0; lane < 4; lane++) if (feed(lane)) working++;
  while (working > 0) {
    compress(load<usize>(LANES), load<usize>(LANES, 16), load<usize>(LANES, 32), load<usize>(LANES, 48));
    for (let lane: usize = 0; lane < 4; lane++) {
      const at = LANES + lane * LANE_BYTES;
      if (load<usize>(at, 8) != 0) {
        const next = load<usize>(at) + BLOCK;
        store<usize>(at, next);
        if (next == load<usize>(at, 4)) {
          finish(lane);
          if (!feed(lane)) working--;
        }
      }
    }
  }
  queued = 0;
}

// @ts-ignore: decorator
@inline
function right(x: v128, n: i32): v128 {
  return v128.or(i32x4.shr_u(x, n), i32x4.shl(x, 32 - n));
}

// @ts-ignore: decorator
@inline
function bytesTurned(x: v128): v128 {
  return i8x16.shuffle(x, x, 3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12);
}

/** Four words of each of four blocks, transposed into the schedule. */
// @ts-ignore: decorator
@inline
function loadWords(a: usize, b: usize, c: usize, d: usize, offset: usize): void {
  const w = v128.load(a + offset);
  const x = v128.load(b + offset);
  const y = v128.load(c + offset);
  const z = v128.load(d + offset);
  const wx0 = v128.shuffle<u32>(w, x, 0, 4, 1, 5);
  const wx1 = v128.shuffle<u32>(w, x, 2, 6, 3, 7);
  const yz0 = v128.shuffle<u32>(y, z, 0, 4, 1, 5);
  const yz1 = v128.shuffle<u32>(y, z, 2, 6, 3, 7);
  const to = WORDS + (offset << 2);
  v128.store(to, bytesTurned(v128.shuffle<u64>(wx0, yz0, 0, 2)));
  v128.store(to + 16, bytesTurned(v128.shuffle<u64>(wx0, yz0, 1, 3)));
  v128.store(to + 32, bytesTurned(v128.shuffle<u64>(wx1, yz1, 0, 2)));
  v128.store(to + 48, bytesTurned(v128.shuffle<u64>(wx1, yz1, 1, 3)));
}

/** h + Σ1(e) + Ch(e, f, g) + K + W */
// @ts-ignore: decorator
@inline
function one(e: v128, f: v128, g: v128, h: v128, k: v128, w: v128): v128 {
  const sigma = v128.xor(v128.xor(right(e, 6), right(e, 11)), right(e, 25));
  const choice = v128.xor(g, v128.and(e, v128.xor(f, g)));
  return i32x4.add(i32x4.add(h, i32x4.add(k, w)), i32x4.add(sigma, choice));
}

/** Σ0(a) + Maj(a, b, c) */
// @ts-ignore: decorator
@inline
function two(a: v128, b: v128, c: v128): v128 {
  const sigma = v128.xor(v128.xor(right(a, 2), right(a, 13)), right(a, 22));
  const majority = v128.xor(v128.and(v128.xor(a, b), v128.xor(b, c)), b);
  return i32x4.add(sigma, majority);
}

/** The word 16 places on from place i of the schedule. */
// @ts-ignore: decorator
@inline
function extend(i: usize): void {
  const early = v128.load(WORDS + (((i + 1) & 15) << 4));
  const late = v128.load(WORDS + (((i + 14) & 15) << 4));
  const s0 = v128.xor(v128.xor(right(early, 7), right(early, 18)), i32x4.shr_u(early, 3));
  const s1 = v128.xor(v128.xor(right(late, 17), right(late, 19)), i32x4.shr_u(late, 10));
  const base = i32x4.add(v128.load(WORDS + (i << 4)), v128.load(WORDS + (((i + 9) & 15) << 4)));
  v128.store(WORDS + (i << 4), i32x4.add(base, i32x4.add(s0, s1)));
}

/** One block of each lane. */
function compress(p: usize, q: usize, r: usize, s: usize): void {
  loadWords(p, q, r, s, 0);
  loadWords(p, q, r, s, 16);
  loadWords(p, q, r, s, 32);
  loadWords(p, q, r, s, 48);
  let a = v128.load(STATE);
  let b = v128.load(STATE + 16);
  let c = v128.load(STATE + 32);
  let d = v128.load(STATE + 48);
  let e = v128.load(STATE + 64);
  let f = v128.load(STATE + 80);
  let g = v128.load(STATE + 96);
  let h = v128.load(STATE + 112);
  let k = K;
  const last = K + 192;
  let more = true;
  while (more) {
    h = one(e, f, g, h, v128.load_splat<u32>(k, 0), v128.load(WORDS, 0)); d = i32x4.add(d, h); h = i32x4.add(h, two(a, b, c));
    g = one(d, e, f, g, v128.load_splat<u32>(k, 4), v128.load(WORDS, 16)); c = i32x4.add(c, g); g = i32x4.add(g, two(h, a, b));
    f = one(c, d, e, f, v128.load_splat<u32>(k, 8), v128.load(WORDS, 32)); b = i32x4.add(b, f); f = i32x4.add(f, two(g, h, a));
    e = one(b, c, d, e, v128.load_splat<u32>(k, 12), v128.load(WORDS, 48)); a = i32x4.add(a, e); e = i32x4.add(e, two(f, g, h));
    d = one(a, b, c, d, v128.load_splat<u32>(k, 16), v128.load(WORDS, 64)); h = i32x4.add(h, d); d = i32x4.add(d, two(e, f, g));
    c = one(h, a, b, c, v128.load_splat<u32>(k, 20), v128.load(WORDS, 80)); g = i32x4.add(g, c); c = i32x4.add(c, two(d, e, f));
    b = one(g, h, a, b, v128.load_splat<u32>(k, 24), v128.load(WORDS, 96)); f = i32x4.add(f, b); b = i32x4.add(b, two(c, d, e));
    a = one(f, g, h, a, v128.load_splat<u32>(k, 28), v128.load(WORDS, 112)); e = i32x4.add(e, a); a = i32x4.add(a, two(b, c, d));
    h = one(e, f, g, h, v128.load_splat<u32>(k, 32), v128.load(WORDS, 128)); d = i32x4.add(d, h); h = i32x4.add(h, two(a, b, c));
    g = one(d, e, f, g, v128.load_splat<u32>(k, 36), v128.load(WORDS, 144)); c = i32x4.add(c, g); g = i32x4.add(g, two(h, a, b));
    f = one(c, d, e, f, v128.load_splat<u32>(k, 40), v128.load(WORDS, 160)); b = i32x4.add(b, f); f = i32x4.add(f, two(g, h, a));
    e = one(b, c, d, e, v128.load_splat<u32>(k, 44), v128.load(WORDS, 176)); a = i32x4.add(a, e); e = i32x4.add(e, two(f, g, h));
    d = one(a, b, c, d, v128.load_splat<u32>(k, 48), v128.load(WORDS, 192)); h = i32x4.add(h, d); d = i32x4.add(d, two(e, f, g));
    c = one(h, a, b, c, v128.load_splat<u32>(k, 52), v128.load(WORDS, 208)); g = i32x4.add(g, c); c = i32x4.add(c, two(d, e, f));
    b = one(g, h, a, b, v128.load_splat<u32>(k, 56), v128.load(WORDS, 224)); f = i32x4.add(f, b); b = i32x4.add(b, two(c, d, e));
    a = one(f, g, h, a, v128.load_splat<u32>(k, 60), v128.load(WORDS, 240)); e = i32x4.add(e, a); a = i32x4.add(a, two(b, c, d));
    more = k != last;
    if (more) {
      extend(0); extend(1); extend(2); extend(3); extend(4); extend(5); extend(6); extend(7);
      extend(8); extend(9); extend(10); extend(11); extend(12); extend(13); extend(14); extend(15);
      k += 64;
    }
  }
  v128.store(STATE, i32x4.add(a, v128.load(STATE)));
  v128.store(STATE + 16, i32x4.add(b, v128.load(STATE + 16)));
  v128.store(STATE + 32, i32x4.add(c, v128.load(STATE + 32)));
  v128.store(STATE + 48, i32x4.add(d, v128.load(STATE + 48)));
  v128.store(STATE + 64, i32x4.add(e, v128.load(STATE + 64)));
  v128.store(STATE + 80, i32x4.add(f, v128.load(STATE + 80)));
  v128.store(STATE + 96, i32x4.add(g, v128.load(STATE + 96)));
  v128.store(STATE + 112, i32x4.add(h, v128.load(STATE + 112)));
}
