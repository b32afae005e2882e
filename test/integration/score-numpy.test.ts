import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseSuite } from '../../core/suite.ts';
import { jsonPieces } from '../../scoring/offline/render.ts';
import { type OfflineScores, scoreStream } from '../../scoring/offline/score-stream.ts';
import { disagreements } from '../support/numpy-oracle.ts';
import { pythonModulesMissing, pythonVenv } from '../support/python.ts';

const python = join(pythonVenv(), 'bin', 'python');
const oracle = join(import.meta.dirname, '..', 'support', 'scoring-oracle.py');
const AT = '2026-11-23T12:07:31Z';

const why = pythonModulesMissing(['numpy', 'scipy.stats']);

if (why !== '' && process.env.MERIT_REQUIRE_PARTS === '1') {
  test('numpy and scipy are there where every part is required', () => {
    expect.fail(why);
  });
}

describe.skipIf(why !== '')(`scores against numpy and scipy${why}`, () => {
  let folder: string;
  let scores: OfflineScores;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'merit-oracle-'));
    execFileSync(python, [oracle, 'generate', folder]);
    const suite = parseSuite(JSON.parse(readFileSync(join(folder, 'suite.json'), 'utf8')));
    const bytes = readFileSync(join(folder, 'reports.ndjson'));
    const source = (async function* () {
      yield bytes;
    })();
    scores = await scoreStream({ suite, atMs: Date.parse(AT), sources: [source], onChunk: async () => {} });
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test('every published number agrees to 1e-9, and every count, null and order exactly', () => {
    const expected = JSON.parse(execFileSync(python, [oracle, 'expect', folder, AT], { encoding: 'utf8' }));
    const { wrong, numbers } = disagreements(expected.models, scores.models);
    expect(wrong).toEqual([]);
    expect(numbers).toBeGreaterThan(1000);
  });

  test('suiteHash, inputDigest and checksum are the same when Python computes them', () => {
    const published = Array.from(jsonPieces(scores)).join('');
    const proof: unknown = JSON.parse(
      execFileSync(python, [oracle, 'proof', folder, AT], { encoding: 'utf8', input: published }),
    );
    const { suiteHash, inputDigest, checksum } = scores;
    expect({ suiteHash, inputDigest, checksum }).toEqual(proof);
  });
});
