import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { OperatingError } from '../../../core/operating-error.ts';
import { createLogger } from '../../../platform/logger.ts';
import { createMetrics } from '../../../platform/metrics.ts';
import { Secret } from '../../../platform/secret.ts';
import {
  currentTrace,
  currentTraceparent,
  formatTraceparent,
  newTrace,
  parseTraceparent,
  runInTrace,
  runInTraceId,
  withSpan,
} from '../../../platform/trace.ts';

describe('the log', () => {
  const logged = (fields: object, message = 'm', level: 'debug' | 'info' = 'info') => {
    const lines: string[] = [];
    const log = createLogger({ level, base: { service: 'merit' }, write: (line) => lines.push(line) });
    log.info(fields, message);
    return lines.join('');
  };

  test('a line is one JSON object with time, level and what was said', () => {
    const line = logged({ booking: 'b1', n: 1 }, 'a\nb');
    expect(line.trim().split('\n')).toHaveLength(1);
    expect(JSON.parse(line)).toMatchObject({
      level: 'info',
      service: 'merit',
      booking: 'b1',
      n: 1,
      msg: 'a\nb',
      time: expect.stringMatching(/^\d{4}-.*Z$/),
    });
  });

  test.each([
    ['a field of that name', { password: 'hunter2' }],
    ['one further down', { request: { headers: { authorization: 'hunter2' } } }],
    ['a Secret', { any: new Secret('hunter2') }],
    ['a database URL', { url: 'postgres://merit_app:hunter2@127.0.0.1:5432/merit' }],
    ['a URL without a user name', { url: 'redis://:hunter2@127.0.0.1' }],
    ['a bearer token', { header: 'Bearer hunter2' }],
    ['a URL in an error', { err: new Error('cannot connect to https://u:hunter2@h/x') }],
    ['a cause of an error', { err: new OperatingError('auth', 'never', 'x', { cause: new Error('Bearer hunter2') }) }],
    ['a private key', { pem: '-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----' }],
    [
      'the content of a row',
      {
        err: Object.assign(new Error('duplicate key'), {
          detail: 'Key (a)=(hunter2) exists',
          query: "insert 'hunter2'",
          where: 'hunter2',
        }),
      },
    ],
  ])('%s is not written', (_what, fields) => {
    const line = logged(fields);
    expect(line).not.toContain('hunter2');
    expect(() => JSON.parse(line)).not.toThrow();
  });

  test('a secret in the message itself is not written either', () => {
    expect(logged({}, 'opening postgres://a:hunter2@h/x with Bearer hunter2')).not.toContain('hunter2');
  });

  test('an error is told by name, code, mend and causes, without a stack', () => {
    const cause = new Error('outer', { cause: new Error('inner') });
    const line = JSON.parse(
      logged({ err: new OperatingError('storage', 'safe', 'writing', { cause, mend: 'free space' }) }),
    );
    expect(line.err).toEqual({
      name: 'OperatingError',
      code: 'storage',
      message: 'storage while writing: outer',
      mend: 'free space',
      causes: ['outer', 'inner'],
    });
    expect(JSON.stringify(line)).not.toContain('telemetry.test');
  });

  test('within a trace each line carries its id', () => {
    const at = newTrace();
    expect(JSON.parse(runInTrace(at, () => logged({})))).toMatchObject({ trace: at.traceId });
    expect(JSON.parse(logged({}))).not.toHaveProperty('trace');
  });

  test('levels below the chosen one are left out, and children keep their fields', () => {
    const lines: string[] = [];
    const log = createLogger({ level: 'warn', write: (line) => lines.push(line) }).child({ part: 'ray' });
    log.debug({}, 'no');
    log.info({}, 'no');
    log.warn({}, 'yes');
    expect(lines.map((line) => JSON.parse(line))).toMatchObject([{ part: 'ray', msg: 'yes' }]);
  });

  test('a log file is its owner’s alone', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'merit-log-'));
    const file = join(dir, 'deep', 'merit.log');
    createLogger({ level: 'info', file }).info({ a: 1 }, 'written');
    expect(JSON.parse(await readFile(file, 'utf8'))).toMatchObject({ a: 1, msg: 'written' });
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    await rm(dir, { recursive: true });
  });
});

describe('metrics', () => {
  test('are exposed in the text format under their names', async () => {
    const metrics = createMetrics({ processMetrics: false });
    const rejected = metrics.counter('rejected_total', 'refused inputs', {
      surface: ['http', 'kafka'],
      code: { atMost: 3 },
    });
    rejected({ surface: 'http', code: 'range' });
    rejected({ surface: 'http', code: 'range' }, 2);
    metrics.gauge('queue_length', 'waiting', {})({}, 5);
    metrics.histogram('latency_seconds', 'how long', { stage: ['applied'] }, [0.2, 1])({ stage: 'applied' }, 0.2);
    const { contentType, body } = await metrics.expose();
    expect(contentType).toMatch(/^text\/plain; version=0\.0\.4/);
    expect(body).toContain('rejected_total{surface="http",code="range"} 3');
    expect(body).toContain('queue_length 5');
    expect(body).toContain('latency_seconds_bucket{le="0.2",stage="applied"} 1');
  });

  test('no input makes the registry grow without end', async () => {
    const metrics = createMetrics({ processMetrics: false });
    const count = metrics.counter('x_total', 'x', { surface: ['http'], code: { atMost: 10 } });
    for (let i = 0; i < 1000; i++) count({ surface: `evil-${i}`, code: `evil-${i}` });
    count({ surface: 'http', code: 'x'.repeat(1000) });
    const { body } = await metrics.expose();
    const series = body.split('\n').filter((line) => line.startsWith('x_total{'));
    expect(series).toHaveLength(12);
    expect(body).toContain('x_total{surface="other",code="other"} 990');
    expect(body).not.toContain('x'.repeat(200));
  });

  test('two registries share nothing, and process metrics are there when asked for', async () => {
    const [one, two] = [createMetrics({ processMetrics: true }), createMetrics({ processMetrics: false })];
    one.gauge('a', 'a', {})({}, 1);
    expect((await two.expose()).body.trim()).toBe('');
    expect((await one.expose()).body).toContain('nodejs_eventloop_lag_p99_seconds');
  });
});

describe('traces', () => {
  const header = `00-${'0af7651916cd43dd8448eb211c80319c'}-${'b7ad6b7169203331'}-01`;

  test('a traceparent is read and written as the standard says', () => {
    const at = parseTraceparent(header);
    expect(at).toEqual({ traceId: '0af7651916cd43dd8448eb211c80319c', spanId: 'b7ad6b7169203331', sampled: true });
    expect(at && formatTraceparent(at)).toBe(header);
    expect(parseTraceparent(header.replace(/01$/, '00'))?.sampled).toBe(false);
    expect(parseTraceparent(header.replace(/^00/, 'cc'))?.traceId).toBe(at?.traceId);
  });

  test.each([
    undefined,
    '',
    'x',
    header.toUpperCase(),
    `${header}-extra`,
    header.replace(/^00/, 'ff'),
    header.replace(/-0af\w+/, `-${'0'.repeat(32)}`),
    header.replace(/-b7\w+/, `-${'0'.repeat(16)}`),
    'x'.repeat(10_000),
    ` ${header}`.slice(0, 55),
  ])('a malformed one begins no trace (%#)', (text) => {
    expect(parseTraceparent(text)).toBeUndefined();
  });

  test('a trace holds across awaits and not beyond its work', async () => {
    const at = newTrace();
    expect(currentTrace()).toBeUndefined();
    await runInTrace(at, async () => {
      await new Promise((resolve) => setTimeout(resolve, 1));
      expect(currentTrace()).toEqual(at);
      expect(currentTraceparent()).toBe(formatTraceparent(at));
    });
    expect(currentTraceparent()).toBeUndefined();
    expect(runInTraceId('a'.repeat(32), () => currentTrace()?.traceId)).toBe('a'.repeat(32));
  });

  test('without an SDK a span just does its work, in the trace it is in', async () => {
    const at = newTrace();
    expect(await runInTrace(at, () => withSpan('work', { n: 1 }, async () => currentTrace()?.traceId))).toBe(
      at.traceId,
    );
    await expect(withSpan('work', {}, async () => Promise.reject(new Error('failed')))).rejects.toThrow('failed');
  });
});
