import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { parseSuite } from '../../core/suite.ts';
import {
  BAD_PARAMETERS,
  EXAMPLE,
  type Report,
  readReports,
  runCommand,
  runTrainer,
  shareRight,
  smallParameters,
  withoutLatency,
} from '../support/digits-example.ts';
import { pythonVenv } from '../support/python.ts';

const python = join(pythonVenv(), 'bin', 'python');
const here = existsSync(python);
const required = process.env.MERIT_REQUIRE_PARTS === '1';
const why = here ? '' : ' (skipped: no venv with scikit-learn; with Python 3.10 or later, `npm test` makes one)';
const trainer = [python, 'train.py'];
const root = mkdtempSync(join(tmpdir(), 'merit-digits-py-'));
const RUN_MS = 120_000;

afterAll(() => rmSync(root, { recursive: true, force: true }));

if (required && !here) {
  test('a venv with scikit-learn is there where every part is required', () => {
    expect.fail('there is no venv with scikit-learn; with Python 3.10 or later, `npm test` makes one');
  });
}

describe.skipIf(!here)(`train.py${why}`, () => {
  test('writes its three files, the same bytes each time but for the measured latency', {
    timeout: RUN_MS,
  }, async () => {
    const [one, two] = [join(root, 'one'), join(root, 'two')];
    await runTrainer(trainer, smallParameters(one));
    await runTrainer(trainer, smallParameters(two));
    expect(readdirSync(one).sort()).toEqual(['model.json', 'reports.ndjson', 'weights.json']);
    for (const file of ['weights.json', 'model.json']) {
      expect(readFileSync(join(one, file), 'utf8')).toBe(readFileSync(join(two, file), 'utf8'));
    }
    expect(readReports(one).map(withoutLatency)).toEqual(readReports(two).map(withoutLatency));
    expect(JSON.parse(readFileSync(join(one, 'model.json'), 'utf8')).dataset).toMatchObject({
      images: 1797,
      heldOutPool: 597,
    });
  });

  test('names reports, times, slices and drift exactly as train.mjs does', { timeout: RUN_MS }, async () => {
    const [py, mjs] = [join(root, 'py'), join(root, 'mjs')];
    const more = {
      producer: 'job-x',
      epoch: '2026-03-01T01:00:00.1239+01:00',
      tickSeconds: 30,
      demotedAtTick: '2026-03-01T00:01:01Z',
    };
    await runTrainer(trainer, { ...smallParameters(py), ...more });
    await runTrainer([process.execPath, 'train.mjs'], { ...smallParameters(mjs), ...more });
    const frame = ({ metrics, ...report }: Report) => ({ ...report, metrics: Object.keys(metrics) });
    expect(readReports(py).map(frame)).toEqual(readReports(mjs).map(frame));
  });

  test.each(BAD_PARAMETERS)(
    'refuses $rule with exit 2, names it, and writes nothing',
    { timeout: RUN_MS },
    async ({ set, said }) => {
      const folder = join(root, 'refused');
      const { code, stderr } = await runCommand(trainer, {
        MERIT_PARAMETERS: JSON.stringify({ ...smallParameters(folder), ...set }),
      });
      expect(stderr).toContain(`train.py: ${said}`);
      expect(code).toBe(2);
      expect(existsSync(folder)).toBe(false);
    },
  );

  test.each([
    ['no parameters at all', {}],
    ['text that is no JSON', { MERIT_PARAMETERS: '{"model": ' }],
    ['NaN, which is no JSON', { MERIT_PARAMETERS: '{"seed": NaN}' }],
    ['a member that stands twice', { MERIT_PARAMETERS: '{"seed": 1, "seed": 2}' }],
    ['a list', { MERIT_PARAMETERS: '[]' }],
  ])('refuses %s with exit 2', { timeout: RUN_MS }, async (_rule, env: Record<string, string>) => {
    const { code, stderr } = await runCommand(trainer, env);
    expect(code).toBe(2);
    expect(stderr).toContain('train.py: parameters: ');
  });

  test('explains its parameters and the environment variable with --help', { timeout: RUN_MS }, async () => {
    const { code, stdout } = await runCommand([...trainer, '--help']);
    expect(code).toBe(0);
    expect(stdout).toContain('MERIT_PARAMETERS');
  });

  test('puts its files through boto3 under the prefix, the reports last', { timeout: RUN_MS }, async () => {
    const [module, calls] = [join(root, 'boto3'), join(root, 'calls')];
    mkdirSync(module);
    writeFileSync(
      join(module, 'boto3.py'),
      `class Client:\n  def put_object(self, Bucket, Key, Body):\n    open(${JSON.stringify(calls)}, "a").write(f"{Bucket} {Key} {len(Body) > 0}\\n")\ndef client(service):\n  assert service == "s3"\n  return Client()\n`,
    );
    const parameters = { ...smallParameters(root), outputs: 's3://models-eu/digits/run-1/' };
    const { code, stderr } = await runCommand(trainer, {
      MERIT_PARAMETERS: JSON.stringify(parameters),
      PYTHONPATH: module,
    });
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const names = ['weights.json', 'model.json', 'reports.ndjson'];
    expect(readFileSync(calls, 'utf8')).toBe(names.map((name) => `models-eu digits/run-1/${name} True\n`).join(''));
  });

  test('ends with exit 1 and the mend where s3: is asked for and boto3 cannot be imported', {
    timeout: RUN_MS,
  }, async () => {
    const module = join(root, 'no-boto3');
    mkdirSync(module);
    writeFileSync(join(module, 'boto3.py'), 'raise ImportError("boto3")\n');
    const parameters = { ...smallParameters(root), outputs: 's3://models-eu/digits' };
    const { code, stderr } = await runCommand(trainer, {
      MERIT_PARAMETERS: JSON.stringify(parameters),
      PYTHONPATH: module,
    });
    expect(code).toBe(1);
    expect(stderr).toContain('pip install boto3');
  });
});

describe.skipIf(!here)(`the digits example on scikit-learn${why}`, () => {
  const promotion = parseSuite(parse(readFileSync(join(EXAMPLE, 'suite.yaml'), 'utf8'))).promotion!;
  const incumbent = JSON.parse(readFileSync(join(EXAMPLE, 'incumbent.json'), 'utf8'));
  const entry = parse(readFileSync(join(EXAMPLE, 'model.yaml'), 'utf8'));
  let live: readonly Report[];
  let retrained: readonly Report[];

  beforeAll(async () => {
    const [first, second] = [join(root, 'v1'), join(root, 'v2')];
    await runTrainer(trainer, { ...incumbent, outputs: `file://${first}` });
    const booked = { model: 'digits-v2', suite: 'digits', producer: 'job-x', demotedAtTick: '2026-01-05T10:06:00Z' };
    await runTrainer(trainer, { ...entry.retrain.parameters, ...booked, outputs: `file://${second}` });
    live = readReports(first);
    retrained = readReports(second);
  }, RUN_MS);

  test('the incumbent earns its place on upright images and loses it on rotated ones', () => {
    expect(shareRight(live.filter((report) => report.labels.driftDegrees === '0'))).toBeGreaterThan(
      promotion.promoteAbove + 0.05,
    );
    expect(shareRight(live.slice(-60))).toBeLessThan(promotion.demoteBelow - 0.1);
  });

  test('the retrained model earns it back on rotated images, later than all live traffic', () => {
    expect(retrained[0]!.observedAt > live.at(-1)!.observedAt).toBe(true);
    expect(retrained.length).toBeGreaterThanOrEqual(30 + promotion.promoteTicks + 1);
    expect(shareRight(retrained)).toBeGreaterThan(promotion.promoteAbove + 0.1);
  });
});
