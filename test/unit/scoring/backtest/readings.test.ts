import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { RefusedInput } from '../../../../core/refusal.ts';
import { parseSuite } from '../../../../core/suite.ts';
import { backtestStream, type SidedNotice } from '../../../../scoring/backtest/backtest-stream.ts';
import { readerSuites } from '../../../../scoring/backtest/reader-key.ts';
import { openReadings } from '../../../../scoring/backtest/readings/merge.ts';
import { shardReadings } from '../../../../scoring/backtest/readings/read-shard.ts';
import { contestReports, contestSuite } from '../../../support/backtest-cases.ts';

const lines = contestReports(3)
  .slice(0, 260)
  .flatMap((report, i) => [
    JSON.stringify(report),
    ...(i % 40 === 7 ? ['', '{"schemaVersion":1', '  \r'] : []),
    ...(i % 90 === 11 ? [JSON.stringify(report), JSON.stringify({ ...report, sampleSize: 77 })] : []),
  ]);
const other = parseSuite({
  ...contestSuite.document,
  metrics: Object.fromEntries(
    Object.entries(contestSuite.document.metrics as object).map(([name, rule]) => [
      name,
      { ...rule, valid: [0.2, 0.9] },
    ]),
  ),
});
const sameReader = parseSuite({ ...contestSuite.document, minN: 2 });

async function* chunksOf(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

type Run = { readonly result: unknown; readonly notices: readonly [number, SidedNotice][] };

async function run(
  sources: Iterable<AsyncIterable<Uint8Array>>,
  against: typeof contestSuite | null,
  areReadings: boolean,
): Promise<Run> {
  const notices: [number, SidedNotice][] = [];
  const onChunk = async (given: readonly SidedNotice[], source: number) => {
    for (const notice of given) notices.push([source, notice]);
  };
  const range = { incumbent: null, fromMs: null, untilMs: null };
  const result = await backtestStream({ suite: contestSuite, against, ...range, sources, onChunk, areReadings });
  return { result, notices };
}

const archive = (texts: readonly string[], chunkBytes: number) =>
  texts.map((text, i) => {
    const bytes = Buffer.from(text);
    const open = (from: number) => chunksOf(bytes.subarray(from), chunkBytes);
    return { name: `file-${i}`, bytes: bytes.length, open };
  });

async function readings(
  files: ReturnType<typeof archive>,
  of: number,
  suites: readonly (typeof contestSuite)[],
): Promise<Buffer[]> {
  return Promise.all(
    Array.from({ length: of }, async (_, shard) => {
      const parts: Uint8Array[] = [];
      for await (const part of shardReadings({ suites, files, shard, of })) parts.push(part);
      return Buffer.concat(parts);
    }),
  );
}

const opened = (all: readonly Buffer[], chunkBytes = 4096, suites = [contestSuite]) =>
  openReadings(
    all.map((bytes, i) => ({ name: `shard-${i}`, open: () => chunksOf(bytes, chunkBytes) })),
    suites,
  );

/** What is wrong with readings, opening and reading them. */
async function wrong(all: readonly Buffer[], suites = [contestSuite]): Promise<string> {
  try {
    const { sources } = await opened(all, 4096, suites);
    await run(sources, null, true);
  } catch (error) {
    if (error instanceof RefusedInput) return error.refusals.map(({ field, problem }) => `${field} ${problem}`).join();
    throw error;
  }
  return 'nothing';
}

describe('readings of an archive in shards', () => {
  test.each([
    ['one suite', null],
    ['two that check reports alike', sameReader],
    ['two that do not', other],
  ])('come to what the archive itself comes to, whatever its files, shards and chunks: %s', async (_what, against) => {
    const suites = readerSuites([contestSuite, ...(against === null ? [] : [against])]);
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: 1, max: 9 }),
        fc.integer({ min: 5, max: 9000 }),
        fc.boolean(),
        async (count, of, chunkBytes, isEnded) => {
          const size = Math.ceil(lines.length / count);
          const texts = Array.from(
            { length: count },
            (_, i) => lines.slice(i * size, (i + 1) * size).join('\n') + (isEnded ? '\n' : ''),
          );
          const expected = await run(
            archive(texts, chunkBytes).map(({ open }) => open(0)),
            against,
            false,
          );
          const all = await readings(archive(texts, chunkBytes), of, suites);
          const { sources } = await opened(all.reverse(), chunkBytes, [...suites]);
          expect(await run(sources, against, true)).toEqual(expected);
          expect(expected.notices.length).toBeGreaterThan(8);
        },
      ),
      { numRuns: 4 },
    );
  });

  test('of more shards than lines, and of a line that several shards lie in, lose and double nothing', async () => {
    const texts = [`${lines[0]}\n{"pad":"${'x'.repeat(5000)}"}\n${lines[1]}`, '', lines[3]!];
    const files = archive(texts, 100);
    const { sources } = await opened(await readings(files, 40, [contestSuite]));
    const expected = await run(
      files.map(({ open }) => open(0)),
      null,
      false,
    );
    expect(expected).toMatchObject({ result: { accepted: 3, quarantined: 1 } });
    expect(await run(sources, null, true)).toEqual(expected);
  });

  test('are refused where one is missing, twice, cut, changed, of other suites or of another archive', async () => {
    const files = archive([lines.join('\n')], 4096);
    const [a, b, c] = (await readings(files, 3, [contestSuite])) as [Buffer, Buffer, Buffer];
    expect(await wrong([a, b, c])).toBe('nothing');
    expect(await wrong([])).toContain('--readings is missing');
    expect(await wrong([a, c])).toContain('--readings has no shard 1 of 3');
    expect(await wrong([a, b])).toContain('--readings has no shard 2 of 3');
    expect(await wrong([a, b, b, c])).toContain('is there already');
    expect(await wrong([a, b, c.subarray(0, -1)])).toContain('is cut or damaged');
    expect(await wrong([a, b, c.subarray(0, c.length >> 1)])).toContain('is cut or damaged');
    expect(await wrong([a, b, Buffer.from('{}\n')])).toContain('is no file of readings');
    expect(await wrong([a, b, c], [other])).toContain('was read for other suites');
    const [longer] = await readings(archive([`${lines.join('\n')}\n`], 4096), 3, [contestSuite]);
    expect(await wrong([longer!, b, c])).toContain('is of another archive');
  });

  test('are refused whichever bit of them flips', async () => {
    const [whole] = (await readings(archive([lines.slice(0, 6).join('\n')], 4096), 1, [contestSuite])) as [Buffer];
    for (let at = 0; at < whole.length; at += 3) {
      const flipped = Buffer.from(whole);
      flipped[at] = flipped[at]! ^ (1 << (at % 8));
      expect(await wrong([flipped]).catch((error: Error) => error.name), `byte ${at}`).not.toBe('nothing');
    }
  });
});
