import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseSuite } from '../../core/suite.ts';
import { jsonPieces } from '../../scoring/offline/render.ts';
import { type OfflineScores, scoreStream } from '../../scoring/offline/score-stream.ts';
import { pythonVenv } from '../support/python.ts';

const python = join(pythonVenv(), 'bin', 'python');
const oracle = join(import.meta.dirname, '..', 'support', 'scoring-oracle.py');
const AT = Date.UTC(2026, 10, 23, 12, 7, 31);
/** Relative, against numpy's and scipy's floating-point sums. */
const TOLERANCE = 1e-9;

const why = missing();

function missing(): string {
  const hint = `run  ${python} -m pip install numpy scipy`;
  if (existsSync(python)) {
    try {
      execFileSync(python, ['-c', 'import numpy, scipy.stats'], { stdio: 'ignore' });
      return '';
    } catch {
      return ` (skipped: no numpy and scipy; ${hint})`;
    }
  }
  return ` (skipped: no Python environment at ${pythonVenv()}; npm start makes one, then ${hint})`;
}

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
    scores = await scoreStream({ suite, atMs: AT, sources: [source], onChunk: async () => {} });
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test('every published number agrees to 1e-9, and every count, null and order exactly', () => {
    const expected: unknown = JSON.parse(execFileSync(python, [oracle, 'expect', folder], { encoding: 'utf8' }));
    let numbers = 0;
    const compare = (want: unknown, got: unknown, path: string): void => {
      if (typeof want === 'number' && typeof got === 'number') {
        numbers++;
        const error = Math.abs(want - got) / Math.max(1e-3, Math.abs(want));
        if (error > TOLERANCE) expect.fail(`${path}: ${got}, and numpy has ${want}`);
      } else if (typeof want === 'object' && want !== null && typeof got === 'object' && got !== null) {
        if (Array.isArray(want)) expect(got, path).toHaveLength(want.length);
        for (const key of Object.keys(want)) compare(Reflect.get(want, key), Reflect.get(got, key), `${path}.${key}`);
      } else expect(got, path).toBe(want);
    };
    compare(expected, scores, '');
    expect(numbers).toBeGreaterThan(1000);
  });

  test('suiteHash, inputDigest and checksum are the same when Python computes them', () => {
    const published = Array.from(jsonPieces(scores)).join('');
    const proof: unknown = JSON.parse(
      execFileSync(python, [oracle, 'proof', folder], { encoding: 'utf8', input: published }),
    );
    const { suiteHash, inputDigest, checksum } = scores;
    expect({ suiteHash, inputDigest, checksum }).toEqual(proof);
  });
});
