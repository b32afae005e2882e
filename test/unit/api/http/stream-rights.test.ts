import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { identifier } from '../../../../api/http/identify.ts';
import type { LogPiece } from '../../../../api/http/jobs-service.ts';
import * as limits from '../../../../api/http/limits.ts';
import { buildHttpServer } from '../../../../api/http/server.ts';
import type { StreamEnd } from '../../../../api/http/services.ts';
import { FUNCTIONS, functionsOf } from '../../../../core/access.ts';
import { kernel } from '../../../../peers/kernel/client.ts';
import { ROLES_KEPT_MS, roleBook } from '../../../../peers/kernel/role-book.ts';
import { type KernelSimulator, startKernelSimulator } from '../../../../peers/kernel/simulator.ts';
import type { Clock } from '../../../../platform/clock.ts';
import { openHttpClient } from '../../../../platform/http-client.ts';
import type { OidcVerdict } from '../../../../platform/oidc.ts';
import { fakeServices, JOB_ID, TOKEN } from './fake-services.ts';

/** A stream goes on for an hour: longer than its reader may be let read it. */

const ANN = 'oidc:ann';
const JWT = 'e30e30e30e30.e30e30e30e30.e30e30e30e30';
const PERSON: OidcVerdict = { kind: 'person', principal: ANN, tenant: 'acme', functions: functionsOf(['viewer']) };
const PIECE: LogPiece = {
  bytes: new Uint8Array(0),
  attempt: 1,
  nextByte: 0,
  done: false,
  end: null,
  size: null,
  fault: null,
  job: { state: 'applied', ended: false, reasons: [], newestAttempt: 1 },
};

/** Time that only the test moves. */
class HandClock implements Clock {
  #nowMs = 1_764_000_000_000;
  readonly #sleepers = new Set<{ readonly atMs: number; wake(): void }>();

  now(): number {
    return this.#nowMs;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const sleeper = { atMs: this.#nowMs + ms, wake: resolve };
      this.#sleepers.add(sleeper);
      signal?.addEventListener('abort', () => resolve(), { once: true });
    });
  }

  /** In steps, so that whoever sleeps again does so in the time that is passing. */
  async pass(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms;
    while (this.#nowMs < endMs) {
      this.#nowMs += 500;
      for (const one of this.#sleepers) {
        if (one.atMs > this.#nowMs) continue;
        this.#sleepers.delete(one);
        one.wake();
      }
      await new Promise((resolve) => setTimeout(resolve, 4));
    }
  }
}

let simulator: KernelSimulator;
let clock: HandClock;
let verdict: OidcVerdict;
let ends: StreamEnd[];
/** What each look at the log finds. */
let piece: () => LogPiece | Promise<LogPiece>;
let stopServer: () => Promise<void>;
let url: string;

beforeEach(async () => {
  simulator = await startKernelSimulator();
  simulator.setRoles('acme', ANN, ['viewer']);
  clock = new HandClock();
  verdict = PERSON;
  ends = [];
  piece = () => PIECE;
  const book = roleBook({
    kernel: kernel({ http: openHttpClient({ origin: simulator.url }).send }),
    clock,
    watch: { answered: () => {}, failed: () => {}, recovered: () => {} },
  });
  const identify = identifier({
    local: {
      token: TOKEN,
      identity: { principal: 'token:local', tenant: 'acme', functions: FUNCTIONS, producers: 'any' },
    },
    oidc: async () => verdict,
    kernel: book.rolesOf,
    service: undefined,
  });
  const { services } = fakeServices({ identify, clock });
  const app = buildHttpServer({
    ...services,
    jobs: { ...services.jobs, logs: async () => piece() },
    metrics: { ...services.metrics, streamEnded: (reason) => void ends.push(reason) },
  });
  url = await app.listen({ host: '127.0.0.1', port: 0 });
  stopServer = () => app.close();
});
afterEach(async () => {
  await stopServer();
  await simulator.close();
});

async function open(path: string, token = JWT) {
  const response = await fetch(`${url}${path}`, {
    headers: { authorization: `Bearer ${token}`, accept: 'text/event-stream' },
  });
  expect(response.status).toBe(200);
  let over = false;
  const whole = response.text().then(() => {
    over = true;
  });
  return { whole, isOver: () => over };
}

const LOST: Readonly<Record<string, () => Promise<void>>> = {
  'Kernel takes the role away': async () => simulator.setRoles('acme', ANN, ['reporter']),
  'Kernel knows them no more': async () => simulator.setRoles('acme', ANN, undefined),
  'Kernel does not answer': () => simulator.close().then(() => {}),
  'their token has ended': async () => {
    verdict = { kind: 'invalid', why: 'the token has expired' };
  },
};

describe.each(['/v1/events', `/v1/jobs/${JOB_ID}/logs`])('a stream of %s', (path) => {
  test('goes on while its reader may read it, whatever time passes', async () => {
    const stream = await open(path);
    await clock.pass(3 * ROLES_KEPT_MS);
    expect(stream.isOver()).toBe(false);
  });

  test.each(Object.keys(LOST))('ends where %s, once what was known before counts no more', async (why) => {
    const stream = await open(path);
    await clock.pass(limits.STREAM_RIGHTS_MS);
    await LOST[why]!();
    await clock.pass(ROLES_KEPT_MS + limits.STREAM_RIGHTS_MS);
    await expect.poll(stream.isOver, { timeout: 3_000 }).toBe(true);
    if (path === '/v1/events') expect(ends).toEqual(['denied']);
    // And nobody lets them in again.
    const again = await fetch(`${url}${path}`, {
      headers: { authorization: `Bearer ${JWT}`, accept: 'text/event-stream' },
    });
    expect([401, 403, 503]).toContain(again.status);
  });

  test('of the installation’s token goes on while Kernel is away', async () => {
    const stream = await open(path, TOKEN);
    await simulator.close();
    await clock.pass(2 * ROLES_KEPT_MS);
    expect(stream.isOver()).toBe(false);
  });
});

test('a log that is read while its job writes on is cut where its reader may read it no more', async () => {
  const bytes = new TextEncoder().encode('a line\n');
  let looks = 0;
  piece = async () => {
    await new Promise((resolve) => setTimeout(resolve, 1));
    looks++;
    if (looks === 20) verdict = { kind: 'invalid', why: 'the token has expired' };
    return { ...PIECE, bytes, nextByte: looks * bytes.length };
  };
  const response = await fetch(`${url}/v1/jobs/${JOB_ID}/logs`, { headers: { authorization: `Bearer ${JWT}` } });
  expect(response.status).toBe(200);
  await expect(response.text()).rejects.toThrow();
  expect(looks).toBe(20);
});
