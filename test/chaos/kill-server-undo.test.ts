import { randomUUID } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { attemptKey, type BookingId } from '../../core/ids.ts';
import { CASE_LIMIT_MS, crashCases, FROZEN, RELEASED } from '../support/crash-cases.ts';
import { type Facts, factsOf } from '../support/crash-facts.ts';
import { HELD_JOB } from '../support/crash-world.ts';
import { atEvent, atFinance, atRay, rayStatus, running } from '../support/kill-points.ts';
import { standAtEvent } from '../support/postgres-stand.ts';
import { rayMissing } from '../support/ray.ts';
import { dueToday, isWhole } from '../support/rotating.ts';

const missing = rayMissing();

describe.skipIf(missing !== undefined)(
  `a server killed by kill -9 while a booking is undone${missing === undefined ? '' : ` (skipped: ${missing})`}`,
  { timeout: CASE_LIMIT_MS },
  () => {
    const cases = crashCases();
    const { hold, killAt, killAndStart } = cases;

    if (isWhole)
      describe('with a booking that is refused', () => {
        const DENIED: Facts = {
          ...RELEASED,
          state: 'rejected',
          reason: 'policy_denied',
          events: ['created', 'rejected'],
          ray: [],
          runs: 0,
          holds: ['none'],
          artifacts: 'none',
        };

        test('by SentinelNet, while the denial is all but committed: it is rejected, nothing was held or run', async () => {
          cases.world.sentinel.setRules(FROZEN);
          const point = await hold(atEvent(2));
          const id = await cases.world.submit();
          await killAt(point, id);
          await cases.world.ended(id);
          expect(await factsOf(cases.world, id)).toEqual(DENIED);
        });

        test('by Finance, whose answer is on its way: it is rejected, its quota is free again', async () => {
          cases.world.finance.refuseNext({ code: 'insufficient_funds', text: 'the division is out of money' });
          const point = await hold(atFinance('hold', 'before-answer'));
          const id = await cases.world.submit();
          await killAt(point, id);
          await cases.world.ended(id);
          const events = ['created', 'reserved', 'releasing', 'rejected'];
          const reason = 'finance_refused';
          expect(await factsOf(cases.world, id)).toEqual({ ...DENIED, reason, events, holds: ['refused'] });
        });

        test('by a policy that changed before the apply, while it is being undone at Finance', async () => {
          const confirm = await hold(atFinance('confirm', 'before-answer'));
          const undone = await hold(atFinance('reverse', 'before-answer'));
          const id = await cases.world.submit({ run: HELD_JOB, envs: { GO: cases.world.file('never') } });
          await confirm.reached(id);
          cases.world.sentinel.setRules(FROZEN);
          await confirm.open();
          await killAt(undone, id);
          await cases.world.ended(id);
          expect(await factsOf(cases.world, id)).toMatchObject({
            state: 'rejected',
            reason: 'policy_denied',
            events: ['created', 'reserved', 'requesting', 'confirming', 'releasing', 'rejected'],
            ray: ['1 STOPPED'],
            holds: ['reversed'],
            receipt: { code: 0, findings: [] },
          });
        });
      });

    describe('with a booking that is cancelled', () => {
      const heldJob = () => ({ run: HELD_JOB, envs: { GO: cases.world.file('never') } });
      const cancel = (id: string, key?: string) => cases.world.call('POST', `/v1/jobs/${id}:cancel`, undefined, key);
      const CANCELLED = {
        state: 'cancelled',
        reason: 'cancelled',
        attempt: 1,
        artifacts: 'none',
        receipt: { code: 0, findings: [] },
      };
      const WHILE_RUNNING = {
        ...CANCELLED,
        events: [
          'created',
          'reserved',
          'requesting',
          'confirming',
          'applied',
          'draining',
          'log.ended',
          'releasing',
          'cancelled',
        ],
        ray: ['1 STOPPED'],
        runs: 1,
        holds: ['settled'],
      };

      test('while its cancellation is all but committed: asked again by the same key, it ends cancelled', async () => {
        const id = await cases.world.submit(heldJob());
        await running(cases.world, id);
        const point = await hold(() => standAtEvent(cases.world.database.urls.admin, id, 6));
        const key = randomUUID();
        const lost = expect(cancel(id, key)).rejects.toThrow();
        await killAt(point, id);
        await lost;
        expect((await cases.world.booking(id)).state.state).toBe('applied');
        expect((await cancel(id, key)).status).toBe(202);
        await cases.world.ended(id);
        expect(await factsOf(cases.world, id)).toEqual(WHILE_RUNNING);
      });

      test.each(
        dueToday([
          ['Ray is being asked to stop it', 'before-effect'],
          ['Ray was told to stop it and its answer is on its way', 'before-answer'],
        ] as const),
      )('while %s: it ends cancelled, what it used is settled', async (_, when) => {
        const point = await hold(atRay('stop', when));
        const id = await cases.world.submit(heldJob());
        await running(cases.world, id);
        expect((await cancel(id)).status).toBe(202);
        await killAt(point, id);
        await cases.world.ended(id);
        expect(await factsOf(cases.world, id)).toEqual(WHILE_RUNNING);
      });

      const BEFORE_APPLY = ['created', 'reserved', 'requesting', 'confirming', 'releasing', 'cancelled'];

      test.each(
        dueToday([
          ['Ray is being asked to stop it', atRay('stop', 'before-effect')],
          ['Ray was told to stop it and its answer is on its way', atRay('stop', 'before-answer')],
          ['Finance is being asked to reverse the hold', atFinance('reverse', 'before-effect')],
          ['Finance has reversed and its answer is on its way', atFinance('reverse', 'before-answer')],
          ['its end is all but committed', atEvent(6)],
        ] as const),
      )('before it was applied, while %s: all of it is undone', async (_, maker) => {
        const point = await hold(maker);
        const confirm = await hold(atFinance('confirm', 'before-effect'));
        const id = await cases.world.submit(heldJob());
        const stood = point.reached(id);
        await confirm.reached(id);
        expect((await cancel(id)).status).toBe(202);
        await confirm.open();
        await stood;
        await killAndStart(point);
        await cases.world.ended(id);
        expect(await factsOf(cases.world, id)).toMatchObject({
          ...CANCELLED,
          events: BEFORE_APPLY,
          ray: ['1 STOPPED'],
          holds: ['reversed'],
        });
      });

      test('while its submission is on its way: a job that starts after the booking’s end is stopped', async () => {
        const point = await hold(atRay('submit', 'before-effect'));
        const id = await cases.world.submit(heldJob());
        await point.reached(id);
        expect((await cancel(id)).status).toBe(202);
        await cases.world.kill();
        await cases.world.start();
        await cases.world.ended(id);
        await point.open();
        const key = attemptKey(id as BookingId, 1);
        expect(await rayStatus(cases.world, key, (status) => status !== 'PENDING' && status !== 'RUNNING')).toBe(
          'STOPPED',
        );
        expect(await factsOf(cases.world, id)).toMatchObject({
          ...CANCELLED,
          events: ['created', 'reserved', 'requesting', 'releasing', 'cancelled'],
          ray: ['1 STOPPED'],
          holds: ['reversed'],
        });
      });

      test('while Finance is being asked for the hold: a hold that comes after the booking’s end holds nothing', async () => {
        const point = await hold(atFinance('hold', 'before-effect'));
        const id = await cases.world.submit();
        await point.reached(id);
        expect((await cancel(id)).status).toBe(202);
        await cases.world.kill();
        await cases.world.start();
        await cases.world.ended(id);
        await point.open();
        expect(await factsOf(cases.world, id)).toEqual({
          ...CANCELLED,
          events: ['created', 'reserved', 'releasing', 'cancelled'],
          ray: [],
          runs: 0,
          holds: ['reversed'],
        });
      });
    });
  },
);
