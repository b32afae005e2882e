import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { kernelInstance } from '../../../scoring-native/kernel-module.ts';
import { seededRandom } from '../../support/scoring-reports.ts';

/** The kernel's SHA-256 and its texts of numbers, by themselves. */

const { exports: wasm, memory } = kernelInstance(1024, { readLine: () => {} });
const bounds = wasm.boundsAt(1);
new Float64Array(memory.buffer, bounds, 1)[0] = 2 ** 40;
wasm.start(256, 4096, 65_536, 1000, 1000, 1_000_000, 32, 1);
/** Where contents are written: free while nothing is read. */
const AT = wasm.contentAt();
const TO = AT + 16_384;

function sha256(message: Uint8Array): string {
  new Uint8Array(memory.buffer).set(message, AT);
  wasm.sha256(AT, message.length, TO);
  return Buffer.from(memory.buffer, TO, 32).toString('hex');
}

/** Undefined where the kernel leaves the number to the reference. */
function textOf(value: number): string | undefined {
  const end = wasm.numberText(value, AT);
  return end === 0 ? undefined : Buffer.from(memory.buffer, AT, end - AT).toString('latin1');
}

/** Below this the kernel has no powers of ten, and hands the line over. */
const SMALLEST = 1e-290;

function expectText(value: number): void {
  const text = textOf(value);
  if (text === undefined) expect(value !== 0 && Math.abs(value) < SMALLEST, String(value)).toBe(true);
  else expect(text).toBe(String(value));
}

describe('SHA-256', () => {
  test.each([
    ['', 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'],
    ['abc', 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'],
    [
      'abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq',
      '248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1',
    ],
    [
      'abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu',
      'cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1',
    ],
  ])('of FIPS 180-4’s example %j', (message, digest) => {
    expect(sha256(Buffer.from(message))).toBe(digest);
  });

  test('of every length around the ends of blocks is that of OpenSSL', () => {
    const random = seededRandom(1);
    for (let length = 0; length < 400; length++) {
      const message = Uint8Array.from({ length }, () => Math.floor(random() * 256));
      expect(sha256(message)).toBe(createHash('sha256').update(message).digest('hex'));
    }
  });
});

describe('the text of a number', () => {
  // RFC 8785, appendix B: the bits and what ECMAScript writes.
  test.each([
    ['0000000000000000', '0'],
    ['8000000000000000', '0'],
    ['7fefffffffffffff', '1.7976931348623157e+308'],
    ['ffefffffffffffff', '-1.7976931348623157e+308'],
    ['4340000000000000', '9007199254740992'],
    ['c340000000000000', '-9007199254740992'],
    ['4430000000000000', '295147905179352830000'],
    ['44b52d02c7e14af5', '9.999999999999997e+22'],
    ['44b52d02c7e14af6', '1e+23'],
    ['44b52d02c7e14af7', '1.0000000000000001e+23'],
    ['444b1ae4d6e2ef4e', '999999999999999700000'],
    ['444b1ae4d6e2ef4f', '999999999999999900000'],
    ['444b1ae4d6e2ef50', '1e+21'],
    ['3eb0c6f7a0b5ed8c', '9.999999999999997e-7'],
    ['3eb0c6f7a0b5ed8d', '0.000001'],
    ['41b3de4355555553', '333333333.3333332'],
    ['41b3de4355555554', '333333333.33333325'],
    ['41b3de4355555555', '333333333.3333333'],
    ['41b3de4355555556', '333333333.3333334'],
    ['41b3de4355555557', '333333333.33333343'],
    ['becbf647612f3696', '-0.0000033333333333333333'],
    ['43143ff3c1cb0959', '1424953923781206.2'],
  ])('of the double %s is as RFC 8785 says', (bits, text) => {
    const value = new DataView(Uint8Array.from(Buffer.from(bits, 'hex')).buffer).getFloat64(0);
    expect(textOf(value)).toBe(text);
    expect(text).toBe(String(value));
  });

  test.each(['0000000000000001', '8000000000000001'])('of the double %s is left to the reference', (bits) => {
    expect(textOf(new DataView(Uint8Array.from(Buffer.from(bits, 'hex')).buffer).getFloat64(0))).toBeUndefined();
  });

  test('is ECMAScript’s for doubles of any bits, decimals of any length and the ends of every binade', () => {
    const random = seededRandom(2);
    const words = new Uint32Array(2);
    const double = new Float64Array(words.buffer);
    const bits = new BigUint64Array(words.buffer);
    for (let i = 0; i < 15_000; i++) {
      words[0] = random() * 2 ** 32;
      words[1] = random() * 2 ** 32;
      if (Number.isFinite(double[0])) expectText(double[0]!);
      expectText(Number((random() * 10 ** (i % 12)).toFixed(i % 15)));
    }
    for (let exponent = -960; exponent < 1024; exponent++) {
      for (const step of [-1n, 0n, 1n]) {
        double[0] = 2 ** exponent;
        bits[0]! += step;
        expectText(double[0]);
      }
    }
  });
});
