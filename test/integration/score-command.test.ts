import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, describe, expect, test } from 'vitest';
import { run, type ScoreOptions } from '../../api/cli/commands/score.ts';
import { parseYaml, stringifyYaml } from '../../platform/yaml.ts';
import { EXAMPLE_SUITE, reportLine } from '../support/scoring-reports.ts';
import { Sink } from '../support/sink.ts';

const folder = mkdtempSync(join(tmpdir(), 'merit-score-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

const suite = file('suite.yaml', stringifyYaml(EXAMPLE_SUITE));
const fields = { suite: 'search-relevance', observedAt: '2026-11-23T11:30:00Z', metrics: { accuracy: 0.9 } };
const good = Array.from({ length: 40 }, (_, i) => reportLine({ ...fields, reportId: `r${i}` })).join('\n');
const reports = file('reports.ndjson', good);

async function score(options: Partial<ScoreOptions>, stdin = '', stdout = new Sink(), signal?: AbortSignal) {
  const stderr = new Sink();
  const full = { suite, reports: [reports], at: '2026-11-23T12:00:00Z', output: 'json', ...options };
  const io = { stdin: Readable.from([Buffer.from(stdin)]), stdout, stderr };
  const code = await run(full, signal === undefined ? io : { ...io, signal });
  return { code, out: stdout.text, err: stderr.text };
}

describe('merit score', () => {
  test('prints the published object and nothing else on stdout, and exits 0', async () => {
    const { code, out, err } = await score({});
    const scores = JSON.parse(out) as Record<string, unknown>;
    expect([code, err]).toEqual([0, '']);
    expect(Object.keys(scores)).toEqual([
      'suite',
      'suiteHash',
      'at',
      'inputDigest',
      'checksum',
      'accepted',
      'quarantined',
      'duplicates',
      'conflicts',
      'models',
    ]);
    expect(scores).toMatchObject({ accepted: 40, at: '2026-11-23T12:00:00.000Z', models: [{ model: 'm', rank: 1 }] });
  });

  test('YAML says the same as JSON, and the suite may be JSON', async () => {
    const json = await score({});
    const yaml = parseYaml((await score({ output: 'yaml' })).out);
    expect(yaml).toEqual({ ok: true, value: JSON.parse(json.out) });
    const asJson = file('suite.json', JSON.stringify(EXAMPLE_SUITE));
    expect((await score({ suite: asJson })).out).toBe(json.out);
  });

  test('reads stdin for -, and several sources as one log', async () => {
    const piped = await score({ reports: ['-'] }, good);
    expect(piped.out).toBe((await score({})).out);
    const twice = await score({ reports: [reports, '-'] }, good);
    expect(JSON.parse(twice.out)).toMatchObject({ accepted: 40, duplicates: 40 });
  });

  test('tells each quarantined line and conflict as one JSON line on stderr', async () => {
    const bad = [good, '{', reportLine({ ...fields, reportId: 'r0', metrics: { accuracy: 0.1 } })].join('\n');
    const { code, err } = await score({ reports: ['-'] }, bad);
    const lines = err
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as object);
    expect(code).toBe(0);
    expect(lines).toEqual([
      { line: 41, reason: 'json_syntax: at byte 1 ends too early' },
      { line: 42, reason: expect.stringMatching(/^conflict: /) as string },
    ]);
  });

  test('exits 11 where no report was accepted, with the empty result on stdout', async () => {
    const { code, out } = await score({ reports: ['-'] }, '\n{}\n');
    expect([code, JSON.parse(out)]).toMatchObject([11, { accepted: 0, quarantined: 1, models: [] }]);
  });

  test.each<[string, number, Partial<ScoreOptions>, RegExp]>([
    ['no reports', 2, { reports: [] }, /--reports/],
    ['an unknown output', 3, { output: 'xml' }, /--output/],
    ['a time without zone', 3, { at: '2026-11-23T12:00:00' }, /--at/],
    ['a time of year 0', 3, { at: '0000-01-01T00:00:00Z' }, /--at/],
    ['a suite that does not exist', 3, { suite: '/nowhere/s.yaml' }, /\\"\/nowhere\/s\.yaml\\".*does not exist/],
    ['a suite that is a device', 3, { suite: '/dev/zero' }, /not a regular file/],
    ['a suite that is a folder', 3, { suite: folder }, /not a regular file/],
    ['reports that do not exist', 3, { reports: ['/nowhere/r'] }, /does not exist/],
    ['reports that are a folder', 3, { reports: [folder] }, /is a folder/],
    ['stdin twice', 3, { reports: ['-', '-'] }, /given twice/],
  ])('refuses %s with exit %i, stdout empty, JSON on stderr', async (_name, code, options, message) => {
    const result = await score(options);
    expect([result.code, result.out]).toEqual([code, '']);
    expect(result.err).toMatch(options.output === 'xml' ? /merit score: --output/ : message);
    if (options.output === undefined) for (const line of result.err.trimEnd().split('\n')) JSON.parse(line);
  });

  test('tells every refusal of a suite at once, and where YAML is broken', async () => {
    const bad = file('bad.yaml', stringifyYaml({ ...EXAMPLE_SUITE, minN: 0, tick: 'soon' }));
    const refused = await score({ suite: bad, at: 'now', output: 'table' });
    expect(refused.code).toBe(3);
    expect(refused.err.trimEnd().split('\n')).toHaveLength(3);
    const broken = file('broken.yaml', 'a: 1\nb: [1');
    expect((await score({ suite: broken })).err).toMatch(/line 2, column/);
    const large = file('large.yaml', `# ${'x'.repeat(1024 * 1024)}`);
    expect((await score({ suite: large })).err).toMatch(/larger than/);
    const latin = file('latin.yaml', '');
    writeFileSync(latin, Buffer.from([0x61, 0x3a, 0xe4]));
    expect((await score({ suite: latin })).err).toMatch(/UTF-8/);
  });

  test('output that cannot be written is exit 1 with a reason, and a reader gone away is quiet', async () => {
    const full = await score({}, '', new Sink('ENOSPC'));
    expect(full.code).toBe(1);
    expect(full.err).toMatch(/not written: ENOSPC/);
    const gone = await score({}, '', new Sink('EPIPE'));
    expect([gone.code, gone.err]).toEqual([0, '']);
  });

  test('an interrupt is exit 130 without output, also while stdin is silent', async () => {
    expect(await score({}, '', new Sink(), AbortSignal.abort())).toMatchObject({ code: 130, out: '' });
    const silent = new Readable({ read() {} });
    const stop = new AbortController();
    const out = new Sink();
    const running = run(
      { suite, reports: ['-'], at: '2026-11-23T12:00:00Z', output: 'json' },
      { stdin: silent, stdout: out, stderr: new Sink(), signal: stop.signal },
    );
    setImmediate(() => stop.abort());
    expect([await running, out.text]).toEqual([130, '']);
  });

  test('the table goes to stdout too, and names prints one model a line', async () => {
    expect((await score({ output: 'table' })).out).toMatch(/^RANK +MODEL/);
    expect((await score({ output: 'wide' })).out).toMatch(/24H/);
    expect((await score({ output: 'name' })).out).toBe('m\n');
  });
});
