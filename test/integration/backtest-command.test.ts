import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pathToFileURL } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';
import { type BacktestOptions, run } from '../../api/cli/commands/backtest.ts';
import { parseYaml, stringifyYaml } from '../../platform/yaml.ts';
import { backtestOf, contestReports, contestSuite } from '../support/backtest-cases.ts';
import { Sink } from '../support/sink.ts';

const folder = mkdtempSync(join(tmpdir(), 'merit-backtest-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

const archive = contestReports(1, 120);
const good = archive.map((report) => `${JSON.stringify(report)}\n`).join('');
const suite = file('suite.yaml', stringifyYaml(contestSuite.document));
const slower = { ...(contestSuite.document.promotion as object), promoteTicks: 4 };
const other = file('other.json', JSON.stringify({ ...contestSuite.document, promotion: slower }));
const plain = file('plain.json', JSON.stringify({ ...contestSuite.document, promotion: undefined }));
const reports = file('reports.ndjson', good);

interface Given {
  readonly stdin?: string;
  readonly stdout?: Sink;
  readonly stderr?: Sink;
  readonly signal?: AbortSignal;
}

async function backtest(options: Partial<BacktestOptions> = {}, given: Given = {}) {
  const { stdin = '', stdout = new Sink(), stderr = new Sink(), signal } = given;
  const full = { suite, reports: [reports], output: 'json', ...options };
  const io = { stdin: Readable.from([Buffer.from(stdin)]), stdout, stderr };
  const code = await run(full, signal === undefined ? io : { ...io, signal });
  return { code, out: stdout.text, err: stderr.text };
}

describe('merit backtest', () => {
  test('prints what would have been decided, with what is assumed, and exits 0', async () => {
    const { code, out, err } = await backtest();
    const result = JSON.parse(out) as Record<string, unknown>;
    expect(code).toBe(0);
    expect(result).toEqual(JSON.parse(JSON.stringify(await backtestOf(contestSuite, archive))));
    expect(Object.keys(result).slice(0, 2)).toEqual(['suite', 'suiteHash']);
    expect(Object.keys(result).slice(-2)).toEqual(['decisions', 'diff']);
    expect(result).toMatchObject({
      assumed: { policy: 'allow', candidates: 'from_first_report', retirements: 'none', incumbent: null },
      decisions: [
        { action: 'promote', model: 'a', incumbentBefore: null, evidence: { promoteTicks: 2 } },
        { action: 'promote', model: 'c', incumbentBefore: 'a', evidence: { displaced: 'a' } },
      ],
      diff: [],
    });
    const told = err.trimEnd().split('\n');
    expect(told).toHaveLength(result.conflicts as number);
    for (const line of told)
      expect(JSON.parse(line)).toMatchObject({ reason: expect.stringMatching(/^conflict/) as string });
  });

  test('against another suite prints both lists and the differences, and exits 0 whatever differs', async () => {
    const { code, out } = await backtest({ against: other });
    const result = JSON.parse(out) as Record<string, object>;
    expect(code).toBe(0);
    expect(Object.keys(result).slice(-3)).toEqual(['decisions', 'against', 'diff']);
    expect(result.against).toMatchObject({
      suite: 'contest',
      decisions: [{ model: 'a' }, { model: 'c' }, { model: 'c' }],
    });
    expect(result.diff).toMatchObject([
      { kind: 'other_tick', model: 'a', action: 'promote' },
      { kind: 'other_tick', model: 'c', action: 'promote' },
      { kind: 'only_b', model: 'c', action: 'demote' },
    ]);
  });

  test('against another rule changes just the members that are named', async () => {
    const { out } = await backtest({ promotion: ['promoteAbove=0.75', 'cooldown=2h'] });
    const { decisions, against, diff } = JSON.parse(out) as {
      decisions: object[];
      against: { decisions: object[] };
      diff: object[];
    };
    expect(decisions).toHaveLength(2);
    expect(against.decisions).toMatchObject([
      { action: 'promote', model: 'c', incumbentBefore: null, evidence: { promoteAbove: 0.75, promoteTicks: 2 } },
    ]);
    expect(diff).toMatchObject([{ kind: 'only_a', model: 'a', action: 'promote' }]);
    expect(
      JSON.parse((await backtest({ suite: plain, promotion: ['alpha=0.01'], to: '2026-01-05T10:40:00Z' })).out),
    ).toMatchObject({
      decisions: [],
      against: { decisions: [{ action: 'promote', evidence: { alpha: 0.01, promoteTicks: 3 } }] },
    });
  });

  test('begins with who is said to sit, and keeps to the instants that are asked for', async () => {
    const seated = JSON.parse((await backtest({ incumbent: 'a' })).out) as object;
    expect(seated).toMatchObject({ assumed: { incumbent: 'a' }, decisions: [{ model: 'c', incumbentBefore: 'a' }] });
    const cut = JSON.parse((await backtest({ from: '2026-01-05T09:10:00Z', to: '2026-01-05T09:30:00Z' })).out) as {
      lastTick: string;
      replayed: number;
      outside: number;
      lateArchived: number;
      accepted: number;
    };
    expect(cut).toMatchObject({ lastTick: '2026-01-05T09:30:00.000Z', decisions: [] });
    expect([cut.replayed > 20, cut.replayed + cut.outside + cut.lateArchived]).toEqual([true, cut.accepted]);
  });

  test('reads stdin for -, and several files as one log in their order', async () => {
    const whole = await backtest();
    const half = archive.length / 2;
    const lines = good.trimEnd().split('\n');
    const first = file('first.ndjson', lines.slice(0, half).join('\n'));
    const split = await backtest({ reports: [first, '-'] }, { stdin: lines.slice(half).join('\n') });
    expect(split.out).toBe(whole.out);
    expect(JSON.parse(split.err.split('\n')[0]!)).toMatchObject({ file: expect.any(String) as string });
  });

  test('of files that were read in shards is that of the archive, with the same lines set aside', async () => {
    const [half, rest] = [good.slice(0, good.length >> 1), good.slice(good.length >> 1)];
    const files = [file('half.ndjson', half), file('rest.ndjson', rest)];
    const whole = await backtest({ reports: files, against: other });
    const readings = ['a', 'b', 'c'].map((name) => join(folder, `${name}.readings`));
    for (const [i, into] of readings.entries())
      expect(
        await backtest({ reports: files, against: other, shard: `${i}/3`, into: pathToFileURL(into).href }),
      ).toEqual({
        code: 0,
        out: '',
        err: '',
      });
    expect(await backtest({ reports: [], readings, against: other })).toEqual(whole);
    expect(readdirSync(folder).filter((name) => name.endsWith('.part'))).toEqual([]);
  });

  test.each([
    ['a shard that is none', { shard: '3/3', into: 'x' }, 3, '--shard: is "3/3", which is no shard'],
    ['nowhere to write to', { shard: '0/3' }, 2, '--into: is missing'],
    [
      'stdin, which has no middle',
      { shard: '0/3', into: 'x', reports: ['-'] },
      3,
      'is no file that can be read from any byte on',
    ],
    ['a file of something else', { readings: [suite] }, 3, 'is no file of readings'],
  ])('in shards refuses %s', async (_what, options, exit, told) => {
    const { code, out, err } = await backtest({ output: 'table', ...options });
    expect({ code, out }).toEqual({ code: exit, out: '' });
    expect(err).toContain(told);
  });

  test('exits 11 where no report was accepted, with the empty result on stdout', async () => {
    const { code, out } = await backtest({ reports: ['-'] }, { stdin: '\n{}\n' });
    expect([code, JSON.parse(out)]).toMatchObject([11, { accepted: 0, quarantined: 1, lastTick: null, decisions: [] }]);
  });

  test.each<[string, number, Partial<BacktestOptions>, RegExp]>([
    ['no reports', 2, { reports: [] }, /--reports/],
    ['two things to compare with', 2, { against: other, promotion: ['alpha=0.1'] }, /--against and --promotion/],
    ['an end before the beginning', 2, { from: '2026-01-06T00:00:00Z', to: '2026-01-05T00:00:00Z' }, /--from/],
    ['a time without zone', 3, { from: '2026-01-06T00:00:00' }, /--from/],
    ['a suite that does not exist', 3, { suite: '/nowhere/s.yaml' }, /--suite .*does not exist/],
    ['another suite that does not exist', 3, { against: '/nowhere/s.yaml' }, /--against .*does not exist/],
    ['reports that are a folder', 3, { reports: [folder] }, /is a folder/],
    ['a rule that is no pair', 3, { promotion: ['promoteAbove'] }, /name=value/],
    ['a member that no rule has', 3, { promotion: ['promoteAbvoe=0.9'] }, /promotion.promoteAbvoe/],
    ['a value that no rule takes', 3, { promotion: ['promoteAbove=high', 'cooldown=soon'] }, /promotion.promoteAbove/],
  ])('refuses %s with exit %i, stdout empty, JSON on stderr', async (_name, code, options, message) => {
    const result = await backtest(options);
    expect([result.code, result.out]).toEqual([code, '']);
    expect(result.err).toMatch(message);
    for (const line of result.err.trimEnd().split('\n')) expect(JSON.parse(line)).toHaveProperty('error.mend');
  });

  test('an interrupt is exit 130 without output, also while stdin is silent', async () => {
    expect(await backtest({}, { signal: AbortSignal.abort() })).toMatchObject({ code: 130, out: '' });
    const stop = new AbortController();
    const silent = new Readable({ read() {} });
    const out = new Sink();
    const options = { suite, reports: ['-'], output: 'json' };
    const running = run(options, { stdin: silent, stdout: out, stderr: new Sink(), signal: stop.signal });
    setImmediate(() => stop.abort());
    expect([await running, out.text]).toEqual([130, '']);
  });

  test('shows progress on a terminal only, and takes it away before anything else is told', async () => {
    const blanks = file('many.ndjson', '{}\n'.repeat(30_000));
    const terminal = new Sink();
    terminal.isTTY = true;
    await backtest({ reports: [blanks] }, { stderr: terminal });
    expect(terminal.text).toMatch(/\r[0-9]+ lines\r/);
    const { err } = await backtest({ reports: [blanks] });
    expect(err).not.toMatch(/\r/);
  });

  test('a lost reader is quiet, and output that cannot be written is exit 1', async () => {
    expect(await backtest({}, { stdout: new Sink('EPIPE') })).toMatchObject({ code: 0 });
    const full = await backtest({ output: 'table' }, { stdout: new Sink('ENOSPC') });
    expect([full.code, full.err.split('\n').at(-2)]).toEqual([1, expect.stringMatching(/merit backtest: .*ENOSPC/)]);
  });

  test('other outputs say the same', async () => {
    const json = JSON.parse((await backtest({ against: other })).out) as unknown;
    expect(parseYaml((await backtest({ against: other, output: 'yaml' })).out)).toEqual({ ok: true, value: json });
    const table = (await backtest({ against: other, output: 'wide' })).out;
    expect(table).toMatch(/^TICK +ACTION +MODEL +BEFORE +COMPOSITE +RUN +WHY +LATER\n/);
    expect(table).toMatch(/promote at another tick +a /);
    expect(table).toMatch(/assumed: policy allows/);
    expect((await backtest({ against: suite, output: 'table' })).out).toMatch(/\ndifferences\n\nnone\n$/);
    expect((await backtest({ output: 'name' })).out).toMatch(/^\S+Z promote a\n\S+Z promote c\n$/);
  });
});
