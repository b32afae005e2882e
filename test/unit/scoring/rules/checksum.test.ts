import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { checksumOf, checksumRows, inputDigestOf, SortedRowsHash } from '../../../../scoring/rules/checksum.ts';
import { scoreModels } from '../../../../scoring/rules/score-models.ts';
import { smallSuite } from '../../../support/scoring-reports.ts';

const AT = Date.UTC(2026, 10, 23, 12, 7, 3, 5);
const sha256 = (text: string | Buffer) => createHash('sha256').update(text).digest('hex');

describe('the checksum', () => {
  test('has one composite row, one a window and one a metric in each window, in the written form', () => {
    const suite = smallSuite({ windows: { '1h': 1 }, minN: 1, shrinkage: { kappa: 0, prior: 0.5 } });
    const sums = { n: 2, weight: 3n, sumWq: 1_500_000n, sumWq2: 750_000_000_000n, min: 500_000, max: 500_000 } as const;
    const window = {
      any: sums,
      metrics: new Map([['accuracy', { ...sums, buckets: [[657, 2]] as const }]]),
      revision: 4,
    };
    const models = [{ model: 'm', windows: new Map([['1h', { ...window, any: { ...sums, buckets: [] } }]] as const) }];
    const [model] = scoreModels({ suite, atMs: AT, models });
    const head = `"small","${suite.hash}","m"`;
    const rows = [
      `[${head},null,"2026-11-23T12:07:03.005Z",null,null,null,0.5,0.5,0.5]`,
      `[${head},"1h","2026-11-23T12:07:00.000Z",null,2,3,0.5,0.5,0.5]`,
      `[${head},"1h","2026-11-23T12:07:00.000Z","accuracy",2,3,0.5,0.5,0.5]`,
    ];
    expect(checksumRows(suite, AT, model!)).toEqual(rows);
    expect(checksumOf(checksumRows(suite, AT, model!))).toBe(sha256(rows.toSorted().join('\n')));
  });

  test('does not depend on the order of rows, and counts identical rows once', () => {
    const rows = fc.array(fc.constantFrom('["a",1]', '["b",1]', '["a-",1]', '["a",null]', '["A",1]'), {
      maxLength: 12,
    });
    fc.assert(
      fc.property(rows, (given) => {
        const unique = Array.from(new Set(given)).sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
        expect(checksumOf(given)).toBe(sha256(unique.join('\n')));
        const streamed = new SortedRowsHash();
        for (const row of given.toSorted()) streamed.add(row);
        expect(streamed.hex()).toBe(checksumOf(given));
      }),
    );
  });

  test('inputDigest is the SHA-256 of the sorted raw digests', () => {
    const digests = ['ff', '00', '7f'].map((byte) => Buffer.from(byte.repeat(32), 'hex'));
    const sorted = Buffer.concat([digests[1]!, digests[2]!, digests[0]!]);
    expect(inputDigestOf(digests)).toBe(sha256(sorted));
    expect(inputDigestOf([])).toBe('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
  });
});
