// Writes assembly/powers-of-five.ts: 128 bits of 5^q for q from −342 to 308, as Lemire's "Number Parsing at a Gigabyte per Second"
// (2021), appendix B, computes them; exact integers throughout. `node powers-of-five.mjs`.
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const MIN_POWER = -342;
const MAX_POWER = 308;
const LIMIT = 1n << 128n;

/** The 128 most significant bits of 5^q: cut off where q ≥ 0; where q < 0 of the reciprocal, rounded up. */
function significantBits(q) {
  if (q >= 0) {
    let power = 5n ** BigInt(q);
    while (power < LIMIT / 2n) power *= 2n;
    while (power >= LIMIT) power /= 2n;
    return power;
  }
  const power = 5n ** BigInt(-q);
  let bits = 0n;
  while (1n << bits < power) bits++;
  const shift = q >= -27 ? bits + 127n : 2n * bits + 128n;
  let reciprocal = (1n << shift) / power + 1n;
  while (reciprocal >= LIMIT) reciprocal /= 2n;
  return reciprocal;
}

export function powersOfFive() {
  const lines = [];
  for (let q = MIN_POWER; q <= MAX_POWER; q++) {
    const hex = significantBits(q).toString(16).padStart(32, '0');
    lines.push(`  0x${hex.slice(0, 16)}, 0x${hex.slice(16)},`);
  }
  return `// Written by powers-of-five.mjs.

export const MIN_POWER: i32 = ${MIN_POWER};
export const MAX_POWER: i32 = ${MAX_POWER};

/** 16 bytes for each power from MIN_POWER on: the upper 64 bits, then the lower. */
export const POWERS_OF_FIVE: usize = memory.data<u64>([
${lines.join('\n')}
]);
`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(new URL('assembly/powers-of-five.ts', import.meta.url), powersOfFive());
}
