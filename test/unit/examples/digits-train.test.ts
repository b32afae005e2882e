import { createHash } from 'node:crypto';
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import {
  BAD_PARAMETERS,
  readReports,
  runCommand,
  runTrainer,
  smallParameters,
  withoutLatency,
} from '../../support/digits-example.ts';

const root = mkdtempSync(join(tmpdir(), 'merit-digits-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const trainer = [process.execPath, 'train.mjs'];
const NAME = /^[A-Za-z0-9._-]{1,64}$/;
const RUN_MS = 60_000;

describe('train.mjs', () => {
  test('writes the weights, the metadata and one report a slice, and leaves no temporary file', {
    timeout: RUN_MS,
  }, async () => {
    const folder = join(root, 'files');
    await runTrainer(trainer, smallParameters(folder));
    expect(readdirSync(folder).sort()).toEqual(['model.json', 'reports.ndjson', 'weights.json']);
    const model = JSON.parse(readFileSync(join(folder, 'model.json'), 'utf8'));
    const weights = readFileSync(join(folder, 'weights.json'));
    expect(model.weights.sha256).toBe(createHash('sha256').update(weights).digest('hex'));
    expect(JSON.parse(weights.toString()).layers).toHaveLength(2);
    expect(model.trainRows).toBe(120);
    expect(model.dataset.trainPool + model.dataset.heldOutPool).toBe(model.dataset.images);
  });

  test('writes reports with deterministic ids, times by slice, and a share of 64 images', {
    timeout: RUN_MS,
  }, async () => {
    const folder = join(root, 'reports');
    await runTrainer(trainer, {
      ...smallParameters(folder),
      producer: 'job-x',
      epoch: '2026-03-01T01:00:00+01:00',
      tickSeconds: 30,
    });
    const reports = readReports(folder);
    expect(reports.map((report) => report.reportId)).toEqual([2, 3, 4, 5].map((k) => `digits-small-s${k}`));
    expect(reports.map((report) => report.observedAt)).toEqual([
      '2026-03-01T00:01:00.000Z',
      '2026-03-01T00:01:30.000Z',
      '2026-03-01T00:02:00.000Z',
      '2026-03-01T00:02:30.000Z',
    ]);
    expect(reports.map((report) => report.labels.driftDegrees)).toEqual(['0', '0', '40', '40']);
    for (const report of reports) {
      expect(report).toMatchObject({
        schemaVersion: 1,
        producer: 'job-x',
        model: 'digits-small',
        suite: 'digits',
        sampleSize: 64,
      });
      expect(report.reportId).toMatch(NAME);
      expect(Number.isInteger(report.metrics.accuracy * 64)).toBe(true);
      expect(report.metrics.accuracy).toBeGreaterThanOrEqual(0);
      expect(report.metrics.accuracy).toBeLessThanOrEqual(1);
      expect(report.metrics.latency_ms).toBeGreaterThan(0);
    }
  });

  test('gives the same bytes for the same parameters, but for the measured latency', { timeout: RUN_MS }, async () => {
    const [one, two] = [join(root, 'one'), join(root, 'two')];
    await runTrainer(trainer, smallParameters(one));
    await runTrainer(trainer, smallParameters(two));
    for (const file of ['weights.json', 'model.json']) {
      expect(readFileSync(join(one, file), 'utf8')).toBe(readFileSync(join(two, file), 'utf8'));
    }
    expect(readReports(one).map(withoutLatency)).toEqual(readReports(two).map(withoutLatency));
  });

  test('changes the weights with the seed', { timeout: RUN_MS }, async () => {
    const [one, two] = [join(root, 'seed-1'), join(root, 'seed-2')];
    await runTrainer(trainer, { ...smallParameters(one), seed: 1 });
    await runTrainer(trainer, { ...smallParameters(two), seed: 2 });
    expect(readFileSync(join(one, 'weights.json'), 'utf8')).not.toBe(readFileSync(join(two, 'weights.json'), 'utf8'));
  });

  test.each([
    ['starts at the first slice at or after the demotion', '2026-01-05T09:06:00.001Z', 7],
    ['keeps a first slice that is later than the demotion', '2026-01-05T08:00:00Z', 2],
  ])('%s', { timeout: RUN_MS }, async (_rule, demotedAtTick, first) => {
    const folder = join(root, `demoted-${first}`);
    await runTrainer(trainer, { ...smallParameters(folder), demotedAtTick });
    expect(readReports(folder)[0]?.labels.slice).toBe(String(first));
  });

  test('takes its parameters from the command line before the environment, or from a file', {
    timeout: RUN_MS,
  }, async () => {
    const [given, filed] = [join(root, 'given'), join(root, 'with space')];
    const file = join(root, 'parameters.json');
    writeFileSync(
      file,
      JSON.stringify({ ...smallParameters(filed), outputs: `file://${filed.replaceAll(' ', '%20')}` }),
    );
    const flag = await runCommand([...trainer, '--parameters', JSON.stringify(smallParameters(given))], {
      MERIT_PARAMETERS: '{',
    });
    expect(flag).toMatchObject({ code: 0, stderr: '' });
    expect(await runCommand([...trainer, '--parameters-file', file])).toMatchObject({ code: 0, stderr: '' });
    expect(existsSync(join(given, 'reports.ndjson')) && existsSync(join(filed, 'reports.ndjson'))).toBe(true);
  });

  test('explains its parameters and the environment variable with --help', async () => {
    const { code, stdout } = await runCommand([...trainer, '--help']);
    expect(code).toBe(0);
    expect(stdout).toContain('MERIT_PARAMETERS');
  });

  test.each(BAD_PARAMETERS)('refuses $rule with exit 2, names it, and writes nothing', async ({ set, said }) => {
    const folder = join(root, 'refused');
    const { code, stderr } = await runCommand(trainer, {
      MERIT_PARAMETERS: JSON.stringify({ ...smallParameters(folder), ...set }),
    });
    expect(stderr).toContain(`train.mjs: ${said}`);
    expect(code).toBe(2);
    expect(existsSync(folder)).toBe(false);
  });

  test('lists every problem at once, one line each', async () => {
    const { stderr } = await runCommand(trainer, { MERIT_PARAMETERS: '{"seed": 1.5, "x": 1}' });
    expect(stderr.trimEnd().split('\n')).toHaveLength(6);
  });

  test.each([
    ['no parameters at all', {}],
    ['text that is no JSON', { MERIT_PARAMETERS: '{"model": ' }],
    ['a member that stands twice', { MERIT_PARAMETERS: '{"seed": 1, "seed": 2}' }],
    ['a list', { MERIT_PARAMETERS: '[]' }],
    ['text of more than 65,536 characters', { MERIT_PARAMETERS: `{"x": "${'y'.repeat(65_536)}"}` }],
  ])('refuses %s with exit 2', async (_rule, env: Record<string, string>) => {
    const { code, stderr } = await runCommand(trainer, env);
    expect(code).toBe(2);
    expect(stderr).toContain('train.mjs: parameters: ');
  });

  test('refuses s3: outputs and names train.py', async () => {
    const parameters = { ...smallParameters(root), outputs: 's3://bucket/prefix' };
    const { code, stderr } = await runCommand(trainer, { MERIT_PARAMETERS: JSON.stringify(parameters) });
    expect(code).toBe(2);
    expect(stderr).toContain('train.py');
  });

  test('ends with exit 1 and the mend where the folder cannot be made', async () => {
    const file = join(root, 'a-file');
    writeFileSync(file, '');
    chmodSync(file, 0o600);
    const { code, stderr } = await runCommand(trainer, {
      MERIT_PARAMETERS: JSON.stringify(smallParameters(join(file, 'in'))),
    });
    expect(code).toBe(1);
    expect(stderr).toContain('choose one you may write');
  });
});
