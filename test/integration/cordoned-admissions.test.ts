import { afterAll, beforeAll, expect, test } from 'vitest';
import { isEnded } from '../../core/booking.ts';
import { attemptKey } from '../../core/ids.ts';
import type { Booking } from '../../scheduler/apply/booking-store.ts';
import { MAX_STEPS_IN_POOL, PEER_TIMEOUT_MS } from '../../scheduler/apply/limits.ts';
import { ledgerLeaks } from '../support/ledger-leaks.ts';
import { POOL, type SagaWorld, sagaWorld, TENANT } from '../support/saga-world.ts';

const JOBS = MAX_STEPS_IN_POOL + 14;
let world: SagaWorld;
let allocator: { stop(): Promise<void> };
let looks = 0;
/** Of policy, by attempt. */
const asked = new Set<string>();
const answered = Promise.withResolvers<void>();

beforeAll(async () => {
  world = await sagaWorld(JOBS);
  const { providers, sentinelNet } = world.context;
  // Asked each time that the pools are read.
  const health = (...of: Parameters<typeof providers.health>) => {
    looks++;
    return providers.health(...of);
  };
  allocator = await world.startAllocator({
    providers: { ...providers, health },
    // It takes its time, so that what was admitted has to wait for its turn.
    sentinelNet: {
      ...sentinelNet,
      decide: async (request) => {
        asked.add(request.requestId);
        await answered.promise;
        return sentinelNet.decide(request, AbortSignal.timeout(PEER_TIMEOUT_MS));
      },
    },
  });
}, 60_000);
afterAll(async () => {
  answered.resolve();
  await allocator?.stop();
  await world?.close();
});

const until = async (what: () => boolean) => {
  while (!what()) await new Promise((resolve) => setTimeout(resolve, 20));
};
const applied = ({ state }: Booking) => state.state === 'applied';
const cordon = (state: boolean) =>
  world.database.db.asTenant(TENANT, (tx) =>
    tx.execute('update pools set cordoned = $2 where pool = $1', [POOL, state]),
  );

test('what was admitted to a pool and not yet begun does not begin there once it is cordoned, and does when it is open again', async () => {
  const ids = await Promise.all(Array.from({ length: JOBS }, () => world.book()));
  await until(() => asked.size === MAX_STEPS_IN_POOL);
  await cordon(true);
  const before = looks;
  await until(() => looks >= before + 2);
  answered.resolve();

  // Steps end, and looks go by; of the others none begins.
  await until(() => world.provider.submits.length > 0);
  const later = looks;
  await until(() => looks >= later + 4);
  expect(asked.size).toBe(MAX_STEPS_IN_POOL);
  expect(world.provider.submits.filter((key) => !asked.has(key))).toEqual([]);

  await cordon(false);
  for (const id of ids) await world.until(id, applied);
  for (const id of ids) world.provider.end(attemptKey(id, 1), 'succeeded');
  for (const id of ids) await world.until(id, ({ state }) => isEnded(state.state));
  expect(await ledgerLeaks(world.database.db)).toEqual([]);
}, 90_000);
