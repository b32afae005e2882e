import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { checksumOf, checksumRows, inputDigestOf } from '../../../scoring/rules/checksum.ts';
import { oracle } from '../../../scoring/rules/oracle.ts';
import { PaneTable } from '../../../scoring/rules/pane-table.ts';
import { scoreModels } from '../../../scoring/rules/score-models.ts';
import { windowSumsFromPanes } from '../../../scoring/rules/window-sums.ts';
import { FirstWins } from '../../../scoring-native/first-wins.ts';
import { bytesOf, reportLine, seededRandom, smallSuite } from '../../support/scoring-reports.ts';

const suite = smallSuite({
  minN: 2,
  metrics: {
    accuracy: { direction: 'higher', floor: 0, ceil: 1, valid: [0, 1], required: true },
    ms: { direction: 'lower', kind: 'quantile', quantile: 0.95, scale: 3, floor: 1000, ceil: 100 },
    solved: { direction: 'higher', kind: 'binary', floor: 0, ceil: 1 },
  },
});
const AT = Date.UTC(2026, 10, 23, 12);

/** 600 reports of five models over ten days, with values at and beyond every window. */
const LINES: readonly string[] = (() => {
  const random = seededRandom(7);
  return Array.from({ length: 600 }, (_, i) =>
    reportLine({
      reportId: `r${i}`,
      model: `m${Math.floor(random() * 5)}`,
      observedAt: new Date(AT - Math.floor(random() ** 3 * 10 * 86_400_000)).toISOString(),
      sampleSize: 1 + Math.floor(random() * 2 ** 20),
      metrics: { accuracy: random(), ms: random() * 900 - 10, solved: random(), unheard_of: random() * 1e300 },
    }),
  );
})();

interface Proof {
  readonly inputDigest: string;
  readonly checksum: string;
}

/** The proof of lines split over partitions by id, each read in batches, panes merged at the end. */
function proofOf(lines: readonly string[], partitions: number, batch: number): Proof {
  const merged = new PaneTable(suite.hash);
  const digests: Uint8Array[] = [];
  for (let partition = 0; partition < partitions; partition++) {
    const mine = lines.filter((line) => Number(/"r(\d+)"/.exec(line)?.[1]) % partitions === partition);
    const chunks = Array.from({ length: Math.ceil(mine.length / batch) }, (_, i) =>
      bytesOf(`${mine.slice(i * batch, (i + 1) * batch).join('\n')}\n`),
    );
    const result = oracle([suite], chunks);
    for (const pane of result.panes) merged.merge(pane);
    digests.push(...result.digests);
  }
  const models = scoreModels({ suite, atMs: AT, models: windowSumsFromPanes(suite, AT, merged.rows()) });
  return {
    inputDigest: inputDigestOf(digests),
    checksum: checksumOf(models.flatMap((model) => checksumRows(suite, AT, model))),
  };
}

const EXPECTED = proofOf(LINES, 1, LINES.length);

describe('the reference pipeline', () => {
  test.each([1, 2, 7])('gives the same proof over %i partitions in batches of 1, 64 and 1000', (partitions) => {
    for (const batch of [1, 64, 1000]) expect(proofOf(LINES, partitions, batch)).toEqual(EXPECTED);
  });

  test('gives the same proof for any order of reports, each sent twice', () => {
    fc.assert(
      fc.property(fc.infiniteStream(fc.nat()), (keys) => {
        const twice = [...LINES, ...LINES].map((line) => ({ line, key: keys.next().value }));
        const shuffled = twice.sort((a, b) => a.key - b.key).map(({ line }) => line);
        expect(proofOf(shuffled, 2, 64)).toEqual(EXPECTED);
      }),
      { numRuns: 5 },
    );
  });

  test('gives the same result wherever the chunks are cut', () => {
    const bytes = bytesOf(LINES.slice(0, 40).join('\n'));
    const whole = oracle([suite], [bytes]);
    fc.assert(
      fc.property(fc.array(fc.nat(bytes.length), { maxLength: 30 }), (cuts) => {
        const ends = [...cuts.sort((a, b) => a - b), bytes.length];
        const chunks = ends.map((end, i) => bytes.subarray(i === 0 ? 0 : ends[i - 1], end));
        expect(oracle([suite], chunks)).toEqual(whole);
      }),
      { numRuns: 30 },
    );
  });

  test('another value, weight, model or instant gives another proof', () => {
    const changes = [
      (line: string) => line.replace(/"solved":0\.\d\d\d/, '$&9'),
      (line: string) => line.replace(/"sampleSize":\d+/, '"sampleSize":3'),
      (line: string) => line.replace(/"m\d"/, '"m9"'),
    ];
    const fresh = LINES.findIndex((line) => line.includes('"2026-11-23T11:'));
    for (const change of changes) {
      const changed = LINES.map((line, i) => (i === fresh ? change(line) : line));
      expect(changed[fresh]).not.toBe(LINES[fresh]);
      const proof = proofOf(changed, 1, 1000);
      expect(proof.inputDigest).not.toBe(EXPECTED.inputDigest);
      expect(proof.checksum).not.toBe(EXPECTED.checksum);
    }
  });

  test('every non-blank line counts exactly once, and says why it was set aside', () => {
    const good = { reportId: 'a', observedAt: '2026-11-23T11:00:00Z', metrics: { accuracy: 0.5 } };
    const line = reportLine(good);
    const text = [
      line,
      '',
      reportLine({ ...good, metrics: { accuracy: 1.1 } }),
      `  ${line} `,
      reportLine({ ...good, metrics: { accuracy: 0.6 } }),
      reportLine({ ...good, reportId: 'b', metrics: { accuracy: 0.5, ms: 2 ** 40 } }),
      '{"x":',
      reportLine({ ...good, reportId: 'b', metrics: { accuracy: 0.5, other: 1e300 } }),
      reportLine({ ...good, producer: 'other' }),
      reportLine({ ...good, reportId: 'c', suite: 'elsewhere', metrics: { accuracy: 7 } }),
      `"${'x'.repeat(1024 * 1024)}"`,
    ].join('\n');
    const { counts, aside, digests } = oracle([suite], [bytesOf(text)]);
    expect(counts).toEqual({ accepted: 4, quarantined: 4, duplicates: 1, conflicts: 1 });
    expect(digests).toHaveLength(4);
    expect(aside).toEqual([
      { line: 3, kind: 'quarantined', code: 'valid' },
      { line: 5, kind: 'conflict', code: 'conflict' },
      { line: 6, kind: 'quarantined', code: 'range' },
      { line: 7, kind: 'quarantined', code: 'json_syntax' },
      { line: 11, kind: 'quarantined', code: 'too_large' },
    ]);
  });

  test('a quarantined report leaves its id free for a corrected one', () => {
    const make = (accuracy: number) =>
      reportLine({ reportId: 'a', observedAt: '2026-11-23T11:00:00Z', metrics: { accuracy } });
    const { counts } = oracle([suite], [bytesOf([make(9), make(0.9)].join('\n'))]);
    expect(counts).toEqual({ accepted: 1, quarantined: 1, duplicates: 0, conflicts: 0 });
  });

  test('−0 and 0 are one value and one content', () => {
    const make = (accuracy: string) =>
      reportLine({ reportId: 'a', observedAt: '2026-11-23T11:00:00Z', metrics: { accuracy: 5 } }).replace(
        ':5}',
        `:${accuracy}}`,
      );
    const one = oracle([suite], [bytesOf(make('-0.0'))]);
    expect(oracle([suite], [bytesOf(make('0'))]).panes).toEqual(one.panes);
    expect(oracle([suite], [bytesOf(`${make('-0')}\n${make('0')}`)]).counts.duplicates).toBe(1);
  });
});

describe('the memory of ids', () => {
  test('tells new, duplicate and conflict as a Map would, through every growth', () => {
    const random = seededRandom(3);
    const seen = new FirstWins();
    const model = new Map<number, number>();
    const bytes = (value: number, salt: number) => {
      const out = Buffer.alloc(32);
      // Keys that collide in the index on purpose: the first word takes few values.
      out.writeUInt32LE(value % 64, 0);
      out.writeUInt32LE(value, 4);
      out.writeUInt32LE(salt, 12);
      return out;
    };
    for (let i = 0; i < 5000; i++) {
      const key = Math.floor(random() * 3000);
      const content = Math.floor(random() * 2);
      const present = model.get(key);
      const expected = present === undefined ? 'new' : present === content ? 'duplicate' : 'conflict';
      if (present === undefined) model.set(key, content);
      expect(seen.offer(bytes(key, 1), bytes(key, 100 + content))).toBe(expected);
    }
    expect(seen.size).toBe(model.size);
  });
});
