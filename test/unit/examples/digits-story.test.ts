import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { jobSpec } from '../../../core/job.ts';
import { parseSuite } from '../../../core/suite.ts';
import { EXAMPLE, type Report, readReports, runTrainer, shareRight } from '../../support/digits-example.ts';

const suite = parseSuite(parse(readFileSync(join(EXAMPLE, 'suite.yaml'), 'utf8')));
const incumbent = JSON.parse(readFileSync(join(EXAMPLE, 'incumbent.json'), 'utf8'));
const entry = parse(readFileSync(join(EXAMPLE, 'model.yaml'), 'utf8'));
const folder = mkdtempSync(join(tmpdir(), 'merit-digits-'));
/** What Merit sets at booking; the demotion falls into the live traffic. */
const booked = { model: 'digits-v2', suite: 'digits', producer: 'job-x', demotedAtTick: '2026-01-05T10:08:00Z' };
const trainer = [process.execPath, 'train.mjs'];
const TRAINING_MS = 120_000;

let live: readonly Report[];
let retrained: readonly Report[];

beforeAll(async () => {
  const [first, second] = [join(folder, 'v1'), join(folder, 'v2')];
  await runTrainer(trainer, { ...incumbent, outputs: `file://${first}` });
  await runTrainer(trainer, { ...entry.retrain.parameters, ...booked, outputs: `file://${second}` });
  live = readReports(first);
  retrained = readReports(second);
}, TRAINING_MS);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('the digits example without Python', () => {
  test('its suite and its retrain job are accepted as they stand', () => {
    expect(suite.promotion).not.toBeNull();
    expect(jobSpec(entry.retrain).parameters).toEqual(entry.retrain.parameters);
    expect(entry.suite).toBe(suite.name);
    expect(incumbent.suite).toBe(suite.name);
  });

  test('the incumbent is well above the promotion threshold for at least as many slices as a promotion takes', () => {
    const healthy = live.filter((report) => report.labels.driftDegrees === '0');
    expect(healthy.length).toBeGreaterThanOrEqual(30 + suite.promotion!.promoteTicks);
    expect(shareRight(healthy)).toBeGreaterThan(suite.promotion!.promoteAbove + 0.05);
  });

  test('the last hour of live traffic is well below the demotion threshold', () => {
    expect(shareRight(live.slice(-60))).toBeLessThan(suite.promotion!.demoteBelow - 0.1);
  });

  test('the retrained model is well above the promotion threshold on drifted slices only', () => {
    expect(retrained.every((report) => report.labels.driftDegrees === '40')).toBe(true);
    expect(retrained.length).toBeGreaterThanOrEqual(30 + suite.promotion!.promoteTicks + 1);
    expect(shareRight(retrained)).toBeGreaterThan(suite.promotion!.promoteAbove + 0.1);
  });

  test('the retrained model is evaluated after the demotion and after the last live report', () => {
    const first = retrained[0]!.observedAt;
    expect(first > live.at(-1)!.observedAt).toBe(true);
    expect(Date.parse(first)).toBeGreaterThanOrEqual(Date.parse(booked.demotedAtTick));
  });

  test('both models are judged by reports that score nothing but accuracy', () => {
    expect(suite.metrics.map((metric) => metric.name)).toEqual(['accuracy']);
  });
});
