import { afterAll, afterEach, beforeAll, expect } from 'vitest';
import { ALLOW_ALL, type PolicyRules } from '../../peers/sentinelnet/rules.ts';
import { type Facts, leftovers } from './crash-facts.ts';
import { type CrashWorld, crashWorld, DIVISION } from './crash-world.ts';
import type { KillPoint, KillPointMaker } from './kill-points.ts';

/** One case: a start of the server, a Ray job or two, a receipt. */
export const CASE_LIMIT_MS = 120_000;
const LEFTOVERS_LIMIT_MS = 30_000;
const LEFTOVERS_POLL_MS = 100;

/** What is left of a job that ended well, whatever its server died of on the way. */
export const RELEASED: Facts = {
  state: 'released',
  reason: 'succeeded',
  attempt: 1,
  events: [
    'created',
    'reserved',
    'requesting',
    'confirming',
    'applied',
    'log.ended',
    'artifact.manifest',
    'releasing',
    'released',
  ],
  ray: ['1 SUCCEEDED'],
  runs: 1,
  holds: ['settled'],
  artifacts: '1 as recorded',
  receipt: { code: 0, findings: [] },
};

export const FROZEN: PolicyRules = {
  format: 'merit-policy-rules/1',
  deny: [{ name: 'freeze', division: DIVISION, text: 'frozen for the audit' }],
  signatures: [],
};

export interface CrashCases {
  readonly world: CrashWorld;
  /** Sets a kill point up; it is opened after the case whatever becomes of it. */
  hold(maker: KillPointMaker): Promise<KillPoint>;
  /** The server dies where the booking stands; what stood takes its effect with nobody there to hear of it; it starts again. */
  killAt(point: KillPoint, id: string): Promise<void>;
  /** The same, where the booking stands there already. */
  killAndStart(point: Pick<KillPoint, 'open'>): Promise<void>;
}

/**
 * One world for all cases of the enclosing `describe`. After each case every booking has ended, and nothing is left of any of them in
 * the ledger, at Finance or on Ray.
 */
export function crashCases(): CrashCases {
  let world: CrashWorld | undefined;
  const points: KillPoint[] = [];
  const theWorld = (): CrashWorld => {
    if (world === undefined) throw new Error('the world stands in a test, not before');
    return world;
  };
  beforeAll(async () => {
    world = await crashWorld();
  });
  afterAll(() => world?.close());
  afterEach(async ({ task }) => {
    const { sentinel, finance, start } = theWorld();
    for (const point of points.splice(0)) await point.open();
    sentinel.control.clear();
    finance.control.clear();
    sentinel.setRules(ALLOW_ALL);
    await start();
    if (task.result?.state === 'fail') await cancelAll(theWorld());
    await expect
      .poll(() => leftovers(theWorld()), { timeout: LEFTOVERS_LIMIT_MS, interval: LEFTOVERS_POLL_MS })
      .toEqual([]);
  });
  const killAndStart: CrashCases['killAndStart'] = async (point) => {
    await theWorld().kill();
    await point.open();
    await theWorld().start();
  };
  return {
    get world() {
      return theWorld();
    },
    hold: async (maker) => {
      const point = await maker(theWorld());
      points.push(point);
      return point;
    },
    killAt: async (point, id) => {
      await point.reached(id);
      await killAndStart(point);
    },
    killAndStart,
  };
}

/** A case that failed leaves the next ones a clean world. */
async function cancelAll(world: CrashWorld): Promise<void> {
  const reply = await world.call('GET', '/v1/jobs');
  const { items } = reply.json<{ readonly items: readonly { readonly id: string }[] }>();
  for (const { id } of items) await world.call('POST', `/v1/jobs/${id}:cancel`);
}
