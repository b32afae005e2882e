import { randomUUID } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { systemClock } from '../../platform/clock.ts';
import { requestRetrain } from '../../scoring/retrain/request-retrain.ts';
import { CASE_LIMIT_MS, crashCases, RELEASED } from '../support/crash-cases.ts';
import { factsOf } from '../support/crash-facts.ts';
import { jobFile, MODEL, TENANT } from '../support/crash-world.ts';
import { atBooking, type KillPoint } from '../support/kill-points.ts';
import { standAtVersion } from '../support/postgres-stand.ts';
import { rayMissing } from '../support/ray.ts';

const missing = rayMissing();

describe.skipIf(missing !== undefined)(
  `a server killed by kill -9 while something is booked${missing === undefined ? '' : ` (skipped: ${missing})`}`,
  { timeout: CASE_LIMIT_MS },
  () => {
    const cases = crashCases();
    const { hold, killAt, killAndStart } = cases;

    describe('while a job is being booked', () => {
      const bookings = () =>
        cases.world.database.db.asEngine(async (tx) =>
          Number((await tx.query<{ n: bigint }>('select count(*) as n from bookings'))[0]?.n),
        );

      test('and not committed: the caller who repeats it by its key books once', async () => {
        const before = await bookings();
        const point = await hold(atBooking());
        const key = randomUUID();
        const body = jobFile(cases.world.file('tally'));
        const lost = expect(cases.world.call('POST', '/v1/jobs', body, key)).rejects.toThrow();
        await killAt(point, '');
        await lost;
        expect(await bookings()).toBe(before);
        const { id } = (await cases.world.call('POST', '/v1/jobs', body, key)).json<{ readonly id: string }>();
        await cases.world.ended(id);
        expect(await bookings()).toBe(before + 1);
        expect(await factsOf(cases.world, id)).toEqual(RELEASED);
      });

      test('and committed: the caller who repeats it by its key is given the same booking', async () => {
        const before = await bookings();
        const key = randomUUID();
        const body = jobFile(cases.world.file('tally'));
        const answer = cases.world.call('POST', '/v1/jobs', body, key).catch(() => undefined);
        await expect.poll(bookings, { interval: 5 }).toBe(before + 1);
        await cases.world.kill();
        await answer;
        await cases.world.start();
        const { id } = (await cases.world.call('POST', '/v1/jobs', body, key)).json<{ readonly id: string }>();
        await cases.world.ended(id);
        expect(await bookings()).toBe(before + 1);
        expect(await factsOf(cases.world, id)).toEqual(RELEASED);
      });
    });

    describe('while a retrain is being booked', () => {
      const BY = { tenant: TENANT, actor: 'ada', traceId: '0af7651916cd43dd8448eb211c80319c' };
      /** As an operator asks for it; what to do about it is the server's. */
      const ask = () =>
        cases.world.database.db.asTenant(TENANT, (tx) =>
          requestRetrain(tx, systemClock, { ...BY, nowMs: Date.now() }, MODEL),
        );
      const booked = (version: string) =>
        cases.world.database.db.asEngine((tx) =>
          tx.query<{ booking_id: string; state: string; attempts: number; bookings: bigint }>(
            `select v.booking_id, r.state, r.attempts,
               (select count(*) from bookings b where b.spec->'parameters'->>'model' = $1) as bookings
             from retrain_requests r join model_versions v using (tenant, version) where r.version = $1`,
            [version],
          ),
        );

      /** Its one booking, once there is one. */
      const bookingOf = async (version: string): Promise<string> => {
        await expect.poll(() => booked(version)).toMatchObject([{ state: 'booked' }]);
        return (await booked(version))[0]?.booking_id ?? '';
      };

      test.each([
        ['with nothing of it written', 'first'],
        ['with all of it written and nothing committed', 'last'],
      ] as const)('%s: it is booked once, and what it books finishes', async (_, statement) => {
        const first = await hold(atBooking());
        const { newVersion: version = 'none was raised' } = await ask();
        await first.reached('');
        let last: KillPoint = first;
        if (statement === 'last') {
          last = await hold(() => standAtVersion(cases.world.database.urls.admin, version));
          await first.open();
          await last.reached('');
        }
        await killAndStart(last);
        const id = await bookingOf(version);
        await cases.world.ended(id);
        expect(await factsOf(cases.world, id)).toEqual(RELEASED);
        await expect
          .poll(() => booked(version))
          .toEqual([{ booking_id: id, state: 'done', attempts: 1, bookings: 1n }]);
      });
    });
  },
);
