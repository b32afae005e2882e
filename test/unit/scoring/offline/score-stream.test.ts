import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { DigestSorter } from '../../../../scoring/offline/digest-sorter.ts';
import { type Notice, referenceEngine } from '../../../../scoring/offline/offline-engine.ts';
import { jsonPieces, tablePieces } from '../../../../scoring/offline/render.ts';
import { type OfflineInput, type OfflineScores, scoreStream } from '../../../../scoring/offline/score-stream.ts';
import { checksumOf, checksumRows, inputDigestOf } from '../../../../scoring/rules/checksum.ts';
import { oracle } from '../../../../scoring/rules/oracle.ts';
import { scoreModels } from '../../../../scoring/rules/score-models.ts';
import { windowSumsFromPanes } from '../../../../scoring/rules/window-sums.ts';
import { MILL_AT_MS, MILL_SUITES, ReportMill } from '../../../support/report-mill.ts';
import { bytesOf, reportLine, seededRandom, smallSuite } from '../../../support/scoring-reports.ts';

const suite = smallSuite({ minN: 5 });
const AT = Date.UTC(2026, 10, 23, 12, 3);
const temporary = mkdtempSync(join(tmpdir(), 'merit-scoring-test-'));
const realTemporary = process.env.TMPDIR;
afterAll(() => rmSync(temporary, { recursive: true, force: true }));

async function* chunksOf(text: string, size: number): AsyncGenerator<Uint8Array> {
  const bytes = bytesOf(text);
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function scoresOf(
  texts: readonly string[],
  options: { readonly size?: number } & Partial<
    Pick<OfflineInput, 'suite' | 'atMs' | 'maxDigestsInMemory' | 'engine'>
  > = {},
): Promise<{ readonly scores: OfflineScores; readonly notices: readonly (Notice & { readonly source: number })[] }> {
  const notices: (Notice & { source: number })[] = [];
  const { size = 1000, ...rest } = options;
  const scores = await scoreStream({
    suite,
    atMs: AT,
    sources: texts.map((text) => chunksOf(text, size)),
    onChunk: async (told, source) => {
      notices.push(...told.map((notice) => ({ ...notice, source })));
    },
    ...rest,
  });
  return { scores, notices };
}

const random = seededRandom(11);
const LINES = Array.from({ length: 400 }, (_, i) =>
  reportLine({
    reportId: `r${i}`,
    model: `m${i % 3}`,
    observedAt: new Date(AT - Math.floor(random() * 8 * 86_400_000)).toISOString(),
    metrics: { accuracy: random() },
  }),
);

describe('scoring a stream', () => {
  test('equals the oracle’s panes, scored: the same proof by another way', async () => {
    const { panes, digests } = oracle([suite], [bytesOf(LINES.join('\n'))]);
    const models = scoreModels({ suite, atMs: AT, models: windowSumsFromPanes(suite, AT, panes) });
    const { scores } = await scoresOf([LINES.join('\n')]);
    expect(scores.models).toEqual(models);
    expect(scores.inputDigest).toBe(inputDigestOf(digests));
    expect(scores.checksum).toBe(checksumOf(models.flatMap((model) => checksumRows(suite, AT, model))));
  });

  test('gives the same result however the lines are spread over files, chunks and spilled runs', async () => {
    const { scores } = await scoresOf([LINES.join('\n')]);
    const files = [LINES.slice(0, 150), LINES.slice(150, 151), LINES.slice(151)].map((lines) => lines.join('\n'));
    for (const size of [1, 97, 100_000]) {
      expect((await scoresOf(files, { size, maxDigestsInMemory: 37 })).scores).toEqual(scores);
    }
    expect((await scoresOf(files.toReversed())).scores).toEqual(scores);
  });

  test('tells the same to the byte, notices too, as the reference does', async () => {
    const mill = new ReportMill(seededRandom(3));
    const lines = Array.from({ length: 300 }, () => mill.line().toString('latin1'));
    const bytes = [lines.slice(0, 100).join('\n'), lines.slice(100).join('\n')];
    const input = { suite: MILL_SUITES[0]!, atMs: MILL_AT_MS };
    const [native, reference] = await Promise.all([
      scoresOf(bytes, { ...input, size: 777 }),
      scoresOf(bytes, { ...input, engine: referenceEngine }),
    ]);
    expect([...jsonPieces(native.scores)].join('')).toBe([...jsonPieces(reference.scores)].join(''));
    expect(native.notices).toEqual(reference.notices);
    expect(native.scores.accepted).toBeGreaterThan(100);
  });

  test('a report outside every window counts and makes its model a row, without data', async () => {
    const line = reportLine({ reportId: 'x', observedAt: '2020-01-01T00:00:00Z', metrics: { accuracy: 1 } });
    const { scores } = await scoresOf([line]);
    expect([scores.accepted, scores.models[0]?.status]).toEqual([1, 'no_data']);
    expect(scores.inputDigest).not.toBe(createHash('sha256').digest('hex'));
  });

  test('a report from the future of T or of another suite counts too, and enters no score', async () => {
    const fields = { reportId: 'x', observedAt: '2030-01-01T00:00:00Z', metrics: { accuracy: 1 } };
    const { scores } = await scoresOf([
      `${reportLine(fields)}\n${reportLine({ ...fields, reportId: 'y', suite: 'other', model: 'o' })}`,
    ]);
    expect([scores.accepted, scores.models.map((model) => model.model)]).toEqual([2, ['m']]);
  });

  test('no report at all is an empty result with the digests of nothing', async () => {
    const { scores } = await scoresOf(['\n \n']);
    const nothing = createHash('sha256').digest('hex');
    expect(scores).toMatchObject({ accepted: 0, models: [], inputDigest: nothing, checksum: nothing });
  });

  test('each quarantined line and conflict is told once with its number in its own file', async () => {
    const fields = { reportId: 'x', observedAt: '2026-11-23T12:00:00Z', metrics: { accuracy: 1 } };
    const first = ['', reportLine(fields), 'not json'].join('\n');
    const second = reportLine({ ...fields, metrics: { accuracy: 0 } });
    const { notices, scores } = await scoresOf([first, second]);
    expect(notices.map(({ source, line, reason }) => `${source} ${line} ${reason.split(':')[0]}`)).toEqual([
      '0 3 json_syntax',
      '1 1 conflict',
    ]);
    expect([scores.accepted, scores.quarantined, scores.conflicts]).toEqual([1, 1, 1]);
  });

  test('an abort stops it between chunks', async () => {
    const aborted = scoreStream({
      suite,
      atMs: AT,
      sources: [chunksOf(LINES.join('\n'), 100)],
      onChunk: async () => {},
      signal: AbortSignal.abort(new Error('stopped')),
    });
    await expect(aborted).rejects.toThrow('stopped');
  });
});

describe('the external sort of digests', () => {
  test('leaves nothing behind in the temporary folder, also after a failure', () => {
    process.env.TMPDIR = temporary;
    try {
      const sorter = new DigestSorter(2);
      for (let i = 0; i < 9; i++) sorter.add(createHash('sha256').update(String(i)).digest());
      expect(sorter.runs).toBe(4);
      expect(readdirSync(temporary)).toHaveLength(1);
      sorter.close();
      expect(readdirSync(temporary)).toEqual([]);
      expect(existsSync(temporary)).toBe(true);
    } finally {
      if (realTemporary === undefined) delete process.env.TMPDIR;
      else process.env.TMPDIR = realTemporary;
    }
  });

  test.each([1, 2, 3, 10, 64, 1000])('gives the same digest with room for %i', (room) => {
    const digests = Array.from({ length: 64 }, (_, i) =>
      createHash('sha256')
        .update(String(i % 50))
        .digest(),
    );
    const sorter = new DigestSorter(room);
    try {
      for (const digest of digests) sorter.add(digest);
      expect(sorter.hex()).toBe(inputDigestOf(digests));
    } finally {
      sorter.close();
    }
  });
});

describe('rendering', () => {
  test('the JSON pieces join to the object itself, one model a line', async () => {
    const { scores } = await scoresOf([LINES.join('\n')]);
    const text = Array.from(jsonPieces(scores)).join('');
    expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(scores)));
    expect(text.split('\n')).toHaveLength(scores.models.length + 3);
    const nothing = { ...scores, models: [] };
    expect(JSON.parse(Array.from(jsonPieces(nothing)).join(''))).toEqual(nothing);
  });

  test('the table shows a dash where there is no number', async () => {
    const { scores } = await scoresOf([LINES[0]!]);
    const table = Array.from(tablePieces(scores, true)).join('');
    expect(table).toMatch(/^RANK {2}MODEL {2}STATUS/);
    expect(table).toMatch(/^- +m0 +insufficient +- +- +-/m);
  });
});
