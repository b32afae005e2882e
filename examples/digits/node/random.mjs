// Seeded randomness: the same numbers on every machine, for data, weights and slices.

/** A stream of numbers in [0, 1) from two 32-bit seeds. sfc32, by Chris Doty-Humphrey (PractRand, public domain). */
export function randomStream(seed, stream) {
  let a = seed >>> 0;
  let b = stream >>> 0;
  let c = 0x9e3779b9;
  let counter = 1;
  const next = () => {
    const sum = (((a + b) | 0) + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + sum;
    return (sum >>> 0) / 2 ** 32;
  };
  for (let round = 0; round < 15; round++) next();
  return next;
}

/** A number near the normal distribution of mean 0 and deviation 1 (twelve uniforms: the same bits on every machine). */
export function normal(random) {
  let sum = -6;
  for (let i = 0; i < 12; i++) sum += random();
  return sum;
}

/** `count` different numbers of 0 to `size` − 1, in random order (Fisher–Yates). */
export function draw(random, size, count) {
  const numbers = Array.from({ length: size }, (_, index) => index);
  for (let i = 0; i < count; i++) {
    const other = i + Math.floor(random() * (size - i));
    [numbers[i], numbers[other]] = [numbers[other], numbers[i]];
  }
  return numbers.slice(0, count);
}
