import { expect, test } from 'vitest';
import { whyText } from '../../../../api/cli/commands/why.ts';
import { defaultName } from '../../../../api/cli/job-file.ts';
import { type Row, type Shape, table, wholeText } from '../../../../api/cli/render.ts';
import { EVENTS, JOB_EVENTS, MODELS, PROMOTIONS, RANKING, SUITES } from '../../../../api/cli/shapes.ts';

const HASH = '50ff6a5229b31f6a25a0ea8c360fab4ee4cd64ef41eaa0b93cb95eac2db8f611';

const lines = (shape: Shape, row: Row) => table(shape.columns, [row]).trimEnd().split('\n');

test('scores are shown with four decimals, and what is no number as it is', () => {
  const windows = { '1h': { n: 3 }, '7d': { n: 40 } };
  const row = {
    rank: 1,
    model: 'm',
    composite: 0.9567587209302325,
    lower: 0.5,
    upper: null,
    status: 'ranked',
    revision: 2,
    windows,
  };
  expect(lines(RANKING, row)[1]).toBe('1     m      0.9568     0.5000  –      40  2         ranked');
});

test('a decision says why, out of its own evidence', () => {
  const why = (action: string, evidence: Row) =>
    lines(PROMOTIONS, {
      id: 'i',
      suite: 's',
      tick: 't',
      action,
      model: 'm',
      composite: 1,
      signed: { record: { evidence } },
    })[1];
  const metrics = [
    { metric: 'accuracy', holds: true },
    { metric: 'f1', holds: false },
  ];
  expect(why('promote', { promoteAbove: 0.8, run: 3, displaced: 'old', metrics })).toMatch(
    /1\.0000 +at or above 0\.8 for 3 ticks in a row over old; evidence holds for accuracy$/,
  );
  expect(why('demote', { cause: 'below', demoteBelow: 0.7, run: 1 })).toMatch(/below 0\.7 for 1 tick in a row$/);
  const guardrails = [
    { metric: 'latency', verdict: 'breach' },
    { metric: 'cost', verdict: 'continue' },
  ];
  expect(why('demote', { cause: 'guardrail', guardrails })).toMatch(/guardrail breached: latency$/);
});

test('a suite shows its hash once, and short; a model its versions as words', () => {
  const [, suite] = lines(SUITES, { name: 's', version: HASH, hash: HASH, incumbent: 'm', candidates: ['a', 'b'] });
  expect(suite?.match(/50ff6a5229b3/g)).toHaveLength(1);
  expect(suite).not.toContain(HASH);
  expect(suite).toContain('a, b');
  expect(lines(MODELS, { name: 'm', versions: ['v1', 'v2'], aliases: { champion: 'v2' } })[1]).toMatch(
    /v1, v2 +champion=v2$/,
  );
});

test('an audit event shows what it is about and a hint of its data; the events of one job leave the job out', () => {
  const event = { seq: 1, at: 't', subject: 'booking/x', n: 1, type: 'booking.failed', actor: 'a' };
  const failed = { ...event, data: { attempt: 1, reason: { code: 'job_failed', text: 'exit code 3', mend: '' } } };
  expect(lines(EVENTS, failed)[1]).toMatch(/booking\/x .* exit code 3$/);
  expect(lines(JOB_EVENTS, failed)[1]).not.toContain('booking/x');
  expect(lines(EVENTS, { ...event, data: { placement: { pool: 'p', flavour: 'f', provider: 'ray' } } })[1]).toMatch(
    /p\/f on ray$/,
  );
  expect(lines(EVENTS, { ...event, data: { decision: HASH, model: 'm' } })[1]).toMatch(/ model=m$/);
  expect(lines(EVENTS, { ...event, data: undefined })[1]).toMatch(/–$/);
});

test('one thing is shown whole: plain members as facts, nested ones as YAML', async () => {
  expect(await wholeText({ name: 'm', versions: ['v1', 'v2'], retrain: { run: 'x' } })).toBe(
    'name      m\nversions  v1, v2\nretrain:\n  run: x\n',
  );
});

test('why of a job that ended well mends nothing, and no message is said twice', () => {
  const reason = { code: 'job_failed', text: 'exit code 3', mend: 'mend it' };
  const attempts = [{ attempt: 1, pool: 'p', flavour: 'f', outcome: 'failed', message: 'exit code 3' }];
  const failed = whyText({ name: 'j', state: 'failed', attempt: 1, reasons: [reason], attempts });
  expect(failed.match(/exit code 3/g)).toHaveLength(1);
  expect(failed).toContain('mend: mend it');
  const well = { code: 'succeeded', text: 'the job ended well', mend: 'nothing to do' };
  expect(whyText({ name: 'j', state: 'released', attempt: 1, reasons: [well] })).not.toContain('mend');
});

test.each([
  [['python3', '-c', 'print("hello")'], 'python3'],
  [['sleep', '100'], 'sleep'],
  [['python', 'train.py', '--lr', '0.1'], 'train'],
  [['bash', '-c', 'for i in 1; do echo $i; done'], 'bash'],
  [['/usr/bin/env', 'node', 'src/run-it.mjs'], 'run-it'],
  [['./go'], 'go'],
])('the job of %j is named %s', (words, named) => {
  expect(defaultName(words, undefined)).toBe(named);
});
