import { beforeAll, describe, expect, test } from 'vitest';
import { canonicalBytes } from '../../../../core/canonical.ts';
import { leafHash } from '../../../../core/merkle.ts';
import { lineText } from '../../../../ledger/audit/lines.ts';
import { fileVerifier, verifyFile } from '../../../../ledger/audit/verify.ts';
import { bundleFile, receiptFile } from '../../../support/audit-files.ts';
import { retrainStory, rootsOf, testSigner } from '../../../support/audit-story.ts';
import { seededRandom } from '../../../support/ledger-cases.ts';

const signer = testSigner();
const roots = rootsOf(signer);
const check = (text: string, trusted = roots) => verifyFile(Buffer.from(text), trusted);
const linesOf = (text: string) => text.split(/(?<=\n)/);

let receipt: string;
let bundle: string;
beforeAll(async () => {
  const story = await retrainStory(signer);
  receipt = await receiptFile(story, signer);
  bundle = await bundleFile(story, signer);
});

/** Exhaustive on the parts no hash covers; elsewhere every so many bytes, at a seeded start. */
function flipPositions(text: string, every: number): readonly number[] {
  const bytes = Buffer.from(text);
  const start = Math.floor(seededRandom(7)() * every);
  const edges = [0, 1, bytes.length - 2, bytes.length - 1];
  const header = Array.from({ length: bytes.indexOf(10) + 2 }, (_, i) => i);
  const sampled = Array.from({ length: Math.ceil((bytes.length - start) / every) }, (_, i) => start + i * every);
  const newlines = [...bytes.entries()].filter(([, byte]) => byte === 10).map(([at]) => at);
  return [...new Set([...edges, ...header, ...newlines, ...sampled.filter((at) => at < bytes.length)])];
}

describe.each([
  ['receipt', () => receipt, 47],
  ['bundle', () => bundle, 47],
] as const)('a %s', (name, text, every) => {
  test('as it was written holds', () => {
    const result = check(text());
    expect(result.findings).toEqual([]);
    expect(result.code).toBe(0);
    expect(result.summary?.kind).toBe(name);
  });

  test('arriving in any portions gives the same answer', () => {
    const bytes = Buffer.from(text());
    for (const size of [1, 7, 4_096]) {
      const verifier = fileVerifier(roots);
      for (let at = 0; at < bytes.length; at += size) verifier.push(bytes.subarray(at, at + size));
      expect(verifier.end()).toEqual(check(text()));
    }
  });

  test('with one byte flipped never holds: 11 where it no longer starts or ends as one, else 10', () => {
    const bytes = Buffer.from(text());
    for (const at of flipPositions(text(), every)) {
      for (const mask of [0x01, 0x80]) {
        const changed = Buffer.from(bytes);
        changed[at] = changed[at]! ^ mask;
        const { code, findings } = verifyFile(changed, roots);
        const inHeader = at <= bytes.indexOf(10);
        const expected = at === 0 || at === bytes.length - 1 ? [11] : inHeader ? [10, 11] : [10];
        expect(expected, `byte ${at}, mask ${mask}`).toContain(code);
        expect(findings.length).toBeGreaterThan(0);
      }
    }
  });

  test('with any line left out never holds: 11 for the last, else 10', () => {
    const lines = linesOf(text());
    for (const at of lines.keys()) {
      const { code } = check(lines.toSpliced(at, 1).join(''));
      expect(code, `line ${at + 1}`).toBe(at === lines.length - 1 ? 11 : 10);
    }
  });

  test('with any two neighbouring lines swapped is tampered with, at the first of them', () => {
    const lines = linesOf(text());
    for (let at = 0; at + 1 < lines.length; at++) {
      const swapped = lines.toSpliced(at, 2, lines[at + 1]!, lines[at]!);
      const { code, findings } = check(swapped.join(''));
      expect(code, `lines ${at + 1} and ${at + 2}`).toBe(10);
      if (at > 1)
        expect(Math.min(...findings.filter((f) => f.line > 2).map((f) => f.line))).toBeLessThanOrEqual(at + 2);
    }
  });

  test('with any line written twice is tampered with', () => {
    const lines = linesOf(text());
    for (const [at, line] of lines.entries())
      expect(check(lines.toSpliced(at, 0, line).join('')).code, `line ${at + 1}`).toBe(10);
  });

  test('cut anywhere is incomplete', () => {
    for (let length = text().length - 1; length >= 0; length -= 311) {
      expect(check(text().slice(0, length)).code, `${length} of ${text().length}`).toBe(11);
    }
    const lines = linesOf(text());
    for (let kept = lines.length - 1; kept > 1; kept--) {
      expect(check(lines.slice(0, kept).join('')).code, `${kept} lines`).toBe(11);
    }
  });

  test('empty, or of another kind, is incomplete', () => {
    expect(check('').code).toBe(11);
    expect(verifyFile(Buffer.from('1f8b0800000000000003', 'hex'), roots).code).toBe(11);
    expect(check(` ${text()}`).code).toBe(11);
    expect(check('{}\n').code).toBe(10);
  });

  test('with text after its end is tampered with', () => {
    expect(check(`${text()}{}\n`).code).toBe(10);
    expect(check(`${text()}\n`).code).toBe(10);
    expect(check(`${text()} `).code).toBe(11);
  });

  test('without roots says nothing', () => {
    expect(check(text(), { keys: new Map() }).code).toBe(2);
  });

  test('under another key, or one that was not valid then, is tampered with', () => {
    expect(check(text(), rootsOf(testSigner())).code).toBe(10);
    const [key] = roots.keys.values();
    const late = { keys: new Map([[key!.keyId, { ...key!, validFromMs: Date.UTC(2026, 11) }]]) };
    expect(check(text(), late).code).toBe(10);
    const over = { keys: new Map([[key!.keyId, { ...key!, validToMs: Date.UTC(2026, 9) }]]) };
    expect(check(text(), over).code).toBe(10);
  });
});

describe('a bundle', () => {
  test('of no events is incomplete, whatever its checkpoint', () => {
    const [, note] = linesOf(bundle);
    const header =
      '{"checkpoints":1,"events":0,"format":"merit-audit-bundle/1","origin":"merit/audit","treeSize":0,"type":"header"}\n';
    expect(check(header).code).toBe(11);
    expect(check(header + note).code).toBe(10);
  });

  test('with a changed event names its line and seq', () => {
    const lines = linesOf(bundle);
    const at = lines.findIndex((line) => line.includes('booking.applied'));
    const seq = (JSON.parse(lines[at]!) as { seq: number }).seq;
    const { code, findings } = check(lines.with(at, lines[at]!.replace('"v7"', '"v8"')).join(''));
    expect(code).toBe(10);
    expect(findings[0]).toMatchObject({ line: at + 1, seq, field: 'leaf' });
  });

  test('with a changed event and its leaf mended differs at the next checkpoint', () => {
    const lines = linesOf(bundle);
    const at = lines.findIndex((line) => line.includes('pool.changed'));
    const line = JSON.parse(lines[at]!);
    line.event.actor = 'mallory';
    line.leaf = Buffer.from(leafHash(canonicalBytes(line.event))).toString('hex');
    const { code, findings } = check(lines.with(at, lineText(line)).join(''));
    expect(code).toBe(10);
    expect(findings[0]).toMatchObject({ field: 'note' });
  });
});
