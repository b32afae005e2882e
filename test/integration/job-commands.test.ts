import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildHttpServer } from '../../api/http/server.ts';
import type { View } from '../../api/http/services.ts';
import { runCli } from '../support/cli.ts';
import { fakeServices, JOB_ID, TOKEN } from '../unit/api/http/fake-services.ts';

const AGAIN = '01k00000000000000000000001';
let app: FastifyInstance;
let home: string;
/** What the job's extension is at each look. */
let answers: View[] = [];
let asked: { readonly byMs?: number; readonly force?: boolean } = {};

beforeAll(async () => {
  const fake = fakeServices();
  const job = (extensions: readonly View[]): View => ({ id: JOB_ID, name: 'train', state: 'applied', extensions });
  app = buildHttpServer({
    ...fake.services,
    jobs: {
      ...fake.services.jobs,
      get: async () => job([answers.length > 1 ? answers.shift()! : answers[0]!]),
      extend: async (_tx, _caller, _id, byMs) => {
        asked = { byMs };
        return byMs > 10 * 3_600_000
          ? { kind: 'refused', code: 'max_cost', text: 'it could cost too much' }
          : { kind: 'asked', view: job([{ state: 'asked', by: '2h' }]) };
      },
      retry: async (_tx, _caller, _id, force) => {
        asked = { force };
        return force
          ? { kind: 'booked', view: { id: AGAIN, name: 'train', state: 'waiting', retryOf: JOB_ID } }
          : { kind: 'refused', code: 'succeeded', text: 'the job ended well' };
      },
    },
  });
  await app.listen({ host: '127.0.0.1', port: 0 });
  home = mkdtempSync(join(tmpdir(), 'merit-jobs-'));
  const { port } = app.server.address() as AddressInfo;
  writeFileSync(join(home, 'token'), `${TOKEN}\n`, { mode: 0o600 });
  const server = { url: `http://127.0.0.1:${port}`, tokenFile: join(home, 'token') };
  writeFileSync(join(home, 'server.json'), JSON.stringify(server));
});
afterAll(async () => {
  await app?.close();
  rmSync(home, { recursive: true, force: true });
});

describe('jobs extend', () => {
  test('waits until its extension is granted, and is 0', async () => {
    answers = [
      { state: 'asked', by: '2h' },
      { state: 'holding', by: '2h' },
      { state: 'granted', by: '2h' },
    ];
    const { code, out } = await runCli(home, ['jobs', 'extend', JOB_ID, '--by', '2h']);
    expect([code, out]).toEqual([0, expect.stringContaining('2h granted')]);
    expect(asked).toEqual({ byMs: 7_200_000 });
  });

  test('is 7 with the reason and its mend where policy, Finance or the job’s own budget says no', async () => {
    const reason = { code: 'budget_exceeded', text: 'the budget of vision does not allow it', mend: 'ask for less' };
    answers = [{ state: 'refused', by: '2h', reason }];
    const refused = await runCli(home, ['jobs', 'extend', JOB_ID, '--by', '2h']);
    expect([refused.code, refused.err]).toEqual([7, expect.stringMatching(/does not allow it.*ask for less/s)]);
    expect((await runCli(home, ['jobs', 'extend', JOB_ID, '--by', '20h'])).code).toBe(7);
  });
});

test('jobs retry shows the new booking, and is 5 where the job is not to go again', async () => {
  expect((await runCli(home, ['jobs', 'retry', JOB_ID])).code).toBe(5);
  const { code, out } = await runCli(home, ['jobs', 'retry', JOB_ID, '--force', '-o', 'name']);
  expect([code, out]).toEqual([0, `${AGAIN}\n`]);
  expect(asked).toEqual({ force: true });
});
