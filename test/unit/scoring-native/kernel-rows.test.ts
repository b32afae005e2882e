import { createHash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { canonicalText } from '../../../core/canonical.ts';
import { reportKey } from '../../../core/eval-report.ts';
import { MAX_LINE_BYTES } from '../../../core/ndjson.ts';
import { createReportKernel, panesOf, type ReportKernelOptions } from '../../../scoring/report-kernel.ts';
import { oracle } from '../../../scoring/rules/oracle.ts';
import { PaneTable } from '../../../scoring/rules/pane-table.ts';
import { KernelLimitReached, type ReportKernel } from '../../../scoring-native/kernel.ts';
import { ROW_STATUS, type RowBlock, UNKNOWN_SUITE } from '../../../scoring-native/row-block.ts';
import { bytesOf, reportLine, smallSuite } from '../../support/scoring-reports.ts';

const suite = smallSuite({
  metrics: {
    accuracy: { direction: 'higher', floor: 0, ceil: 1, valid: [0, 1] },
    ms: { direction: 'lower', scale: 3, floor: 1000, ceil: 100 },
  },
});
const GOOD = { reportId: 'a', observedAt: '2026-11-23T11:00:00.250Z', metrics: { accuracy: 0.5 } };

function kernelOf(options: Partial<ReportKernelOptions> = {}): ReportKernel {
  return createReportKernel([suite], { digests: true, ...options });
}

/** The only block that the text comes to, ended as a file. */
function blockOf(kernel: ReportKernel, text: string): RowBlock {
  const blocks = [...kernel.read(bytesOf(`${text}\n`))];
  expect(blocks).toHaveLength(1);
  return blocks[0]!;
}

function statuses(block: RowBlock): number[] {
  return [...block.columns.status.subarray(0, block.rows)];
}

function lines(count: number, fields: (i: number) => object = () => ({})): string {
  return Array.from({ length: count }, (_, i) => reportLine({ ...GOOD, reportId: `r${i}`, ...fields(i) })).join('\n');
}

describe('a row', () => {
  test('tells what its line holds: place, suite, model, time, weight, key, digest and values', () => {
    const kernel = kernelOf();
    const line = reportLine({ ...GOOD, sampleSize: 7, metrics: { other: 1e300, ms: -0.0015, accuracy: 0.25 } });
    const block = blockOf(kernel, `\n \t\n${line}`);
    const { columns } = block;
    expect([columns.line[0], columns.weight[0], columns.observedAtMs[0]]).toEqual([3, 7, Date.parse(GOOD.observedAt)]);
    expect(Buffer.from(block.bytesOf(0)).toString()).toBe(line);
    expect([block.modelOf(0), block.suiteOf(0)?.name]).toEqual(['m', 'small']);
    expect([block.has(0, 0), block.has(0, 1)]).toEqual([true, true]);
    expect([...columns.x.subarray(0, 2)]).toEqual([0.25, -0.0015]);
    expect([...columns.q.subarray(0, 2)]).toEqual([250_000, -2]);
    expect(Buffer.from(columns.key.subarray(0, 16))).toEqual(
      reportKey('', { producer: 'ci-eval', reportId: GOOD.reportId }),
    );
    const digest = createHash('sha256')
      .update(canonicalText(JSON.parse(line)))
      .digest();
    expect(Buffer.from(columns.digest.subarray(0, 32))).toEqual(digest);
  });

  test('tells whether it names a producer, in whatever way that is written', () => {
    const escaped = reportLine(GOOD).replace('"ci-eval"', '"\\u0063i-eval"');
    const text = [reportLine(GOOD), escaped, reportLine({ ...GOOD, producer: 'ci-evam' }), '{\n'].join('\n');
    const block = kernelOf().read(bytesOf(text)).next().value!;
    const names = (name: string) => [0, 1, 2, 3].map((row) => block.isOf(row, bytesOf(name)));
    expect(names('ci-eval')).toEqual([true, true, false, false]);
    expect(['ci-eva', 'ci-eval-2', '', 'cí-eval'].flatMap(names)).toEqual(Array(16).fill(false));
    expect(names('ci-evam')).toEqual([false, false, true, false]);
  });

  test('of a suite that nobody gave is read all the same, and has no values', () => {
    const block = blockOf(kernelOf(), reportLine({ ...GOOD, suite: 'elsewhere', metrics: { accuracy: 7 } }));
    expect([block.columns.suite[0], block.suiteOf(0), block.has(0, 0)]).toEqual([UNKNOWN_SUITE, undefined, false]);
    expect(statuses(block)).toEqual([ROW_STATUS.checked]);
  });

  test('that the reference had to read holds the same as one that the kernel was sure of', () => {
    const plain = blockOf(kernelOf(), reportLine(GOOD)).columns;
    const escaped = blockOf(kernelOf(), reportLine(GOOD).replace('"accuracy"', '"\\u0061ccuracy"')).columns;
    for (const column of ['suite', 'model', 'weight', 'observedAtMs', 'key', 'digest', 'present', 'x', 'q'] as const) {
      const one = (columns: typeof plain) => [...columns[column].subarray(0, columns[column].length / 256)];
      // A suite has two metrics; x and q of the one that is absent mean nothing.
      if (column === 'x' || column === 'q') expect(escaped[column][0]).toBe(plain[column][0]);
      else expect(one(escaped)).toEqual(one(plain));
    }
  });

  test('a metric that every object inherits is not there unless the line holds it', () => {
    const odd = smallSuite({ metrics: { constructor: { direction: 'higher', floor: 0, ceil: 1 } } });
    const kernel = createReportKernel([odd], { digests: true });
    const text = [reportLine(GOOD), reportLine({ ...GOOD, reportId: 'b', metrics: { constructor: 0.5 } })].join('\n');
    const block = blockOf(kernel, text);
    expect([block.has(0, 0), block.has(1, 0)]).toEqual([false, true]);
  });
});

describe('lines', () => {
  test('a line of the greatest length is read, one byte more is too long, wherever it is cut', () => {
    const fit = reportLine(GOOD).padEnd(MAX_LINE_BYTES, ' ');
    const text = bytesOf(`${fit} \n${fit}\n${reportLine({ ...GOOD, reportId: 'b' })}`);
    for (const size of [text.length, MAX_LINE_BYTES, MAX_LINE_BYTES + 1, 300_000]) {
      const kernel = kernelOf();
      const seen: [number, number][] = [];
      const note = (block: RowBlock) => {
        for (let row = 0; row < block.rows; row++) seen.push([block.columns.line[row]!, block.columns.status[row]!]);
      };
      for (let at = 0; at < text.length; at += size)
        for (const one of kernel.read(text.subarray(at, at + size))) note(one);
      for (const one of kernel.endFile()) note(one);
      expect(seen).toEqual([
        [1, ROW_STATUS.tooLong],
        [2, ROW_STATUS.checked],
        [3, ROW_STATUS.checked],
      ]);
    }
  });

  test('a line of many chunks is one line that is too long', () => {
    const kernel = kernelOf();
    const text = bytesOf(`${'x'.repeat(5 * MAX_LINE_BYTES)}\n${reportLine(GOOD)}\n`);
    const seen: number[][] = [];
    for (let at = 0; at < text.length; at += 250_000) {
      for (const block of kernel.read(text.subarray(at, at + 250_000))) seen.push(statuses(block));
    }
    expect(seen.flat()).toEqual([ROW_STATUS.tooLong, ROW_STATUS.checked]);
  });

  test('a second that no minute has is refused, also in the minute of the line before', () => {
    const at = (second: string) =>
      reportLine({ ...GOOD, reportId: second, observedAt: `2026-11-23T11:00:${second}.000Z` });
    const block = blockOf(kernelOf(), ['59', '60', '61', '99', '00'].map(at).join('\n'));
    const { checked, quarantined } = ROW_STATUS;
    expect(statuses(block)).toEqual([checked, quarantined, quarantined, quarantined, checked]);
    expect(block.faultOf(1)?.code).toBe('time_format');
  });

  test('are counted anew in the next file, and reports are remembered', () => {
    const kernel = kernelOf();
    const run = (text: string) =>
      [...kernel.run(bytesOf(text)), ...kernel.runEnd()].map((block) => [block.columns.line[0], ...statuses(block)]);
    expect(run(`\n${reportLine(GOOD)}`)).toEqual([[2, ROW_STATUS.accepted]]);
    expect(run(reportLine(GOOD))).toEqual([[1, ROW_STATUS.duplicate]]);
  });

  test('of more shapes than the kernel remembers are read like all others', () => {
    const kernel = kernelOf();
    const text = lines(3000, (i) => ({
      metrics: { accuracy: 0.5, [`m${i}`]: 1, [`n${i % 50}`]: 2 },
      [`x${i % 700}`]: i,
    }));
    for (const block of kernel.run(bytesOf(`${text}\n`)))
      expect(new Set(statuses(block))).toEqual(new Set([ROW_STATUS.accepted]));
    expect(kernel.reports).toBe(3000);
    expect(panesOf(kernel.takePanes(), [suite])).toEqual(oracle([suite], [bytesOf(text)]).panes);
  });

  test('whose numbers grow sixfold in their canonical form find room', () => {
    const extra = `[${Array.from({ length: 200_000 }, () => '1e20').join(',')}]`;
    const line = reportLine(GOOD).replace('"metrics"', `"extra":${extra},"metrics"`);
    const block = blockOf(kernelOf(), line);
    const digest = createHash('sha256')
      .update(canonicalText(JSON.parse(line)))
      .digest('hex');
    expect(Buffer.from(block.columns.digest.subarray(0, 32)).toString('hex')).toBe(digest);
  });
});

describe('the memory of reports', () => {
  test('rolled back to a mark it knows exactly what it knew, through every growth', () => {
    const kernel = kernelOf({ blockRows: 8192 });
    const first = lines(3000);
    const more = lines(12_000, (i) => ({ reportId: `s${i}` }));
    const offered = (text: string, expected: number) => {
      for (const block of kernel.read(bytesOf(`${text}\n`))) {
        kernel.offer(0, block.rows);
        expect(new Set(statuses(block))).toEqual(new Set([expected]));
      }
    };
    offered(first, ROW_STATUS.accepted);
    const mark = kernel.mark();
    for (let turn = 0; turn < 2; turn++) {
      offered(more, ROW_STATUS.accepted);
      offered(first, ROW_STATUS.duplicate);
      offered(more, ROW_STATUS.duplicate);
      kernel.rollback(mark);
      expect(kernel.reports).toBe(3000);
    }
    offered(first, ROW_STATUS.duplicate);
    kernel.forgetReports();
    offered(first, ROW_STATUS.accepted);
  });

  test('takes what was accepted elsewhere', () => {
    const kernel = kernelOf();
    const { key, digest } = blockOf(kernelOf(), reportLine(GOOD)).columns;
    kernel.remember(key.slice(0, 16), digest.slice(0, 32));
    const block = blockOf(kernel, `${reportLine(GOOD)}\n${reportLine({ ...GOOD, metrics: { accuracy: 0.6 } })}`);
    kernel.offer(0, 2);
    expect(statuses(block)).toEqual([ROW_STATUS.duplicate, ROW_STATUS.conflict]);
  });

  test('an id is its tenant’s own, and so are suites', () => {
    const kernel = kernelOf();
    kernel.setTenant('acme');
    const block = blockOf(kernel, reportLine(GOOD));
    kernel.offer(0, 1);
    expect([statuses(block), block.columns.suite[0]]).toEqual([[ROW_STATUS.accepted], UNKNOWN_SUITE]);
    const theirs = Buffer.from(block.columns.key.subarray(0, 16));
    expect(theirs).toEqual(reportKey('acme', { producer: 'ci-eval', reportId: 'a' }));
    kernel.addSuite(suite);
    kernel.setTenant('');
    const again = blockOf(kernel, reportLine(GOOD));
    kernel.offer(0, 1);
    expect([statuses(again), again.columns.suite[0]]).toEqual([[ROW_STATUS.accepted], 0]);
    kernel.setTenant('acme');
    expect(blockOf(kernel, reportLine(GOOD)).columns.suite[0]).toBe(1);
  });

  test('a row that a caller holds back is neither offered nor added', () => {
    const kernel = kernelOf();
    const block = blockOf(kernel, lines(3));
    block.columns.status[1] = ROW_STATUS.held;
    kernel.offer(0, 3);
    block.columns.status[2] = ROW_STATUS.held;
    expect([kernel.reports, kernel.aggregate(0, 3)]).toEqual([2, 3]);
    expect(kernel.takePanes().sumsOf(0).n).toBe(1);
  });
});

describe('sums', () => {
  test.each([0.999999, -2.097151, 1.5e6, -1_099_511_627.776])(
    'of %d by the greatest weight carry into the upper 64 bits',
    (ms) => {
      const text = lines(40, () => ({ sampleSize: 2 ** 20, metrics: { ms } }));
      const kernel = kernelOf();
      for (const _ of kernel.run(bytesOf(`${text}\n`)));
      expect(panesOf(kernel.takePanes(), [suite])).toEqual(oracle([suite], [bytesOf(text)]).panes);
    },
  );

  test('of products just below 2^62 carry too', () => {
    const text = lines(40, () => ({ sampleSize: 2 ** 20, metrics: { ms: 2097.151 } }));
    const kernel = kernelOf();
    for (const _ of kernel.run(bytesOf(`${text}\n`)));
    const panes = panesOf(kernel.takePanes(), [suite]);
    expect(panes.some(({ sums }) => sums.sumWq2 > 2n ** 64n)).toBe(true);
    expect(panes).toEqual(oracle([suite], [bytesOf(text)]).panes);
  });
});

describe('limits', () => {
  test.each([
    ['reports', { maxReports: 10 }],
    ['models', { maxModels: 10 }],
    ['panes', { maxPaneBytes: 2000 }],
  ] as const)('of %s end the work with a name', (limit, options) => {
    const kernel = kernelOf(options);
    const text = lines(20, (i) => ({ model: `m${i}`, observedAt: `2026-11-23T11:${10 + i}:00Z` }));
    const run = () => [...kernel.run(bytesOf(`${text}\n`))];
    expect(run).toThrow(KernelLimitReached);
    expect(run).toThrow(expect.objectContaining({ limit }));
  });

  test('where sums have no room, they are taken and the rest is added', () => {
    const kernel = kernelOf({ maxPaneBytes: 2000 });
    const text = lines(60, (i) => ({ observedAt: `2026-11-23T11:${10 + (i % 45)}:00Z`, model: `m${i % 4}` }));
    const merged = new PaneTable(suite.hash);
    let takes = 0;
    const take = () => {
      takes++;
      for (const pane of panesOf(kernel.takePanes(), [suite])) merged.merge(pane);
    };
    for (const { rows } of kernel.read(bytesOf(`${text}\n`))) {
      kernel.offer(0, rows);
      for (let from = 0; from < rows; ) {
        from = kernel.aggregate(from, rows);
        if (from < rows) take();
      }
    }
    take();
    expect(takes).toBeGreaterThan(5);
    expect(merged.rows()).toEqual(oracle([suite], [bytesOf(text)]).panes);
  });
});
