import { randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { attemptKey, type BookingId } from '../../core/ids.ts';
import { ALLOW_ALL, type PolicyRules } from '../../peers/sentinelnet/rules.ts';
import { type Facts, factsOf, leftovers } from '../support/crash-facts.ts';
import { type CrashWorld, crashWorld, HELD_JOB, jobFile, QUICK_JOB, type TestJob } from '../support/crash-world.ts';
import {
  atBooking,
  atEvent,
  atFinance,
  atManifestLookup,
  atRay,
  atReleaseLook,
  atReports,
  atReservation,
  atSecondOutput,
  atSentinelNet,
  type KillPoint,
  type KillPointMaker,
  rayStatus,
  whileItRuns,
} from '../support/kill-points.ts';
import { rayMissing } from '../support/ray.ts';

const missing = rayMissing();
const CASE_LIMIT_MS = 90_000;

/** What is left of a job that ended well, whatever its server died of on the way. */
const RELEASED: Facts = {
  state: 'released',
  reason: 'succeeded',
  attempt: 1,
  events: ['created', 'reserved', 'requesting', 'confirming', 'applied', 'artifact.manifest', 'releasing', 'released'],
  ray: ['1 SUCCEEDED'],
  runs: 1,
  holds: ['settled'],
  artifacts: '1 as recorded',
  receipt: { code: 0, findings: [] },
};

const OUT = 'OUT=$(printf %s "$MERIT_OUTPUTS" | sed s,^file://,,)';
const REPORT = `{\\"schemaVersion\\":1,\\"reportId\\":\\"r-$MERIT_BOOKING\\",\\"producer\\":\\"job-$MERIT_BOOKING\\",\\"model\\":\\"m\\",\\"suite\\":\\"chaos\\",\\"observedAt\\":\\"2026-01-05T09:00:00Z\\",\\"metrics\\":{\\"accuracy\\":0.5}}`;
const TWO_FILES_JOB = `${QUICK_JOB}; ${OUT}; printf more > "$OUT/second.txt"`;
const REPORTING_JOB = `${QUICK_JOB}; ${OUT}; printf '%s\\n' "${REPORT}" > "$OUT/reports.ndjson"`;

interface Step {
  /** What is going on when the server dies. */
  readonly during: string;
  readonly at: KillPointMaker;
  readonly job?: TestJob;
  readonly left?: Partial<Facts>;
}

/** A booking that ends well, step by step, each step with every place where its server is killed. */
const STEPS: Readonly<Record<string, readonly Step[]>> = {
  'from waiting to reserved': [
    { during: 'SentinelNet is being asked', at: atSentinelNet('decide', 'before-effect') },
    { during: 'SentinelNet’s answer is on its way', at: atSentinelNet('decide', 'before-answer') },
    { during: 'the reservation waits for the booking’s row', at: atReservation() },
    { during: 'the reservation is all but committed', at: atEvent(2) },
  ],
  'from reserved to requesting': [
    { during: 'Finance is being asked for the hold', at: atFinance('hold', 'before-effect') },
    { during: 'Finance holds the money and its answer is on its way', at: atFinance('hold', 'before-answer') },
    { during: 'the grant is all but committed', at: atEvent(3) },
  ],
  'from requesting to confirming': [
    { during: 'Ray is being asked for the attempt’s key', at: atRay('look', 'before-answer') },
    { during: 'the submission is on its way to Ray', at: atRay('submit', 'before-effect') },
    { during: 'Ray has the job and its answer is on its way', at: atRay('submit', 'before-answer') },
    { during: 'the acceptance is all but committed', at: atEvent(4) },
  ],
  'from confirming to applied': [
    { during: 'Finance is being asked to confirm', at: atFinance('confirm', 'before-effect') },
    { during: 'Finance has confirmed and its answer is on its way', at: atFinance('confirm', 'before-answer') },
    { during: 'SentinelNet’s version is being looked at again', at: atSentinelNet('policy-version', 'before-answer') },
    { during: 'the apply is all but committed', at: atEvent(5) },
  ],
  'from applied to releasing': [
    { during: 'the log of the ended job is being read', at: atRay('log', 'before-answer') },
    {
      during: 'one of its two outputs is stored',
      at: atSecondOutput('model.txt', 'second.txt'),
      job: { run: TWO_FILES_JOB },
      left: { artifacts: '2 as recorded' },
    },
    { during: 'its outputs are stored and their manifest is not', at: atManifestLookup() },
    { during: 'the manifest is all but committed', at: atEvent(6) },
    {
      during: 'its reports are being published',
      at: atReports(),
      job: { run: REPORTING_JOB },
      left: { artifacts: '2 as recorded' },
    },
    { during: 'the release is all but committed', at: atEvent(7) },
  ],
  'from releasing to released': [
    { during: 'Ray is being asked whether anything still runs', at: atReleaseLook(7) },
    { during: 'Finance is being asked to settle', at: atFinance('settle', 'before-effect') },
    { during: 'Finance has settled and its answer is on its way', at: atFinance('settle', 'before-answer') },
    { during: 'the end is all but committed', at: atEvent(8) },
  ],
};

let world: CrashWorld;
const points: KillPoint[] = [];

async function hold(maker: KillPointMaker): Promise<KillPoint> {
  const point = await maker(world);
  points.push(point);
  return point;
}

/** Dies where the booking stands, lets what stood take its effect with nobody there to hear of it, and starts again. */
async function killAt(point: KillPoint, id: string): Promise<void> {
  await point.reached(id);
  await world.kill();
  await point.open();
  await world.start();
}

describe.skipIf(missing !== undefined)(
  `a server killed by kill -9${missing === undefined ? '' : ` (skipped: ${missing})`}`,
  { timeout: CASE_LIMIT_MS },
  () => {
    beforeAll(async () => {
      world = await crashWorld();
      (await world.call('PUT', '/v1/suites/chaos', SUITE)).json();
    });
    afterAll(() => world?.close());

    afterEach(async () => {
      for (const point of points.splice(0)) await point.open();
      world.sentinel.control.clear();
      world.finance.control.clear();
      world.sentinel.setRules(ALLOW_ALL);
      await expect.poll(() => leftovers(world), { timeout: 20_000, interval: 200 }).toEqual([]);
    });

    for (const [edge, steps] of Object.entries(STEPS)) {
      describe(edge, () => {
        test.each(steps)('while $during: the booking finishes, once', async ({ at, job, left }) => {
          const point = await hold(at);
          const id = await world.submit(job);
          await killAt(point, id);
          await world.ended(id);
          expect(await factsOf(world, id)).toEqual({ ...RELEASED, ...left });
        });
      });
    }

    test('the reports of all of them counted once, however often they were published', async () => {
      const rows = await world.database.db.asEngine((tx) =>
        tx.query<{ accepted: bigint; quarantined: bigint; conflicts: bigint; booked: bigint }>(
          `select accepted, quarantined, conflicts,
             (select count(*) from manifest_files where path = 'reports.ndjson') as booked
           from input_counters where suite = 'chaos'`,
        ),
      );
      expect(rows).toEqual([{ accepted: 1n, quarantined: 0n, conflicts: 0n, booked: 1n }]);
    });

    describe('while the job runs', () => {
      test('and started again before it ends, it goes on watching the same job', async () => {
        const point = await hold(whileItRuns);
        const id = await world.submit({ run: HELD_JOB, envs: { GO: world.file('go-1') } });
        await killAt(point, id);
        await writeFile(world.file('go-1'), '');
        await world.ended(id);
        expect(await factsOf(world, id)).toEqual(RELEASED);
      });

      test('and started again after it ended, it finds the outcome', async () => {
        const point = await hold(whileItRuns);
        const id = await world.submit({ run: HELD_JOB, envs: { GO: world.file('go-2') } });
        await point.reached(id);
        await world.kill();
        await writeFile(world.file('go-2'), '');
        await rayStatus(world, attemptKey(id as BookingId, 1), (status) => status === 'SUCCEEDED');
        await world.start();
        await world.ended(id);
        expect(await factsOf(world, id)).toEqual(RELEASED);
      });
    });

    describe('more than once', () => {
      test('after every effect in the life of one booking: it still finishes, once', async () => {
        const makers = [
          atSentinelNet('decide', 'before-answer'),
          atFinance('hold', 'before-answer'),
          atRay('submit', 'before-answer'),
          atFinance('confirm', 'before-answer'),
          atFinance('settle', 'before-answer'),
        ];
        let id: string | undefined;
        for (const maker of makers) {
          const point = await hold(maker);
          if (id === undefined) id = await world.submit();
          else await world.start();
          await point.reached(id);
          await world.kill();
          await point.open();
        }
        await world.start();
        await world.ended(id as string);
        expect(await factsOf(world, id as string)).toEqual(RELEASED);
      });

      test('with five bookings under way, each at another call: all of them finish, each once', async () => {
        const makers = [
          atFinance('settle', 'before-effect'),
          atFinance('confirm', 'before-effect'),
          atRay('submit', 'before-effect'),
          atFinance('hold', 'before-effect'),
          atSentinelNet('decide', 'before-effect'),
        ];
        const ids: string[] = [];
        // The one that goes farthest first: what holds a call holds it for all that come later.
        for (const maker of makers) {
          const point = await hold(maker);
          const id = await world.submit();
          await point.reached(id);
          ids.push(id);
        }
        await world.kill();
        for (const point of points) await point.open();
        await world.start();
        for (const id of ids) {
          await world.ended(id);
          expect(await factsOf(world, id)).toEqual(RELEASED);
        }
      });

      test('while the retry of a failed job is all but committed: the next attempt runs once', async () => {
        const point = await hold(atEvent(7));
        const failsFirst = `[ "$MERIT_ATTEMPT" = 1 ] && exit 3; ${QUICK_JOB}`;
        const id = await world.submit({ run: failsFirst, max_restarts: 1 });
        await killAt(point, id);
        await world.ended(id);
        const [created, ...once] = RELEASED.events;
        expect(await factsOf(world, id)).toEqual({
          ...RELEASED,
          attempt: 2,
          events: [created, ...once.slice(0, 4), 'releasing', 'waiting', ...once],
          ray: ['1 FAILED', '2 SUCCEEDED'],
          holds: ['settled', 'settled'],
        });
      });
    });

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
        world.sentinel.setRules(FROZEN);
        const point = await hold(atEvent(2));
        const id = await world.submit();
        await killAt(point, id);
        await world.ended(id);
        expect(await factsOf(world, id)).toEqual(DENIED);
      });

      test('by Finance, whose answer is on its way: it is rejected, its quota is free again', async () => {
        world.finance.refuseNext({ code: 'insufficient_funds', text: 'the division is out of money' });
        const point = await hold(atFinance('hold', 'before-answer'));
        const id = await world.submit();
        await killAt(point, id);
        await world.ended(id);
        const events = ['created', 'reserved', 'releasing', 'rejected'];
        const reason = 'finance_refused';
        expect(await factsOf(world, id)).toEqual({ ...DENIED, reason, events, holds: ['refused'] });
      });

      test('by a policy that changed before the apply, while it is being undone at Finance', async () => {
        const confirm = await hold(atFinance('confirm', 'before-answer'));
        const undone = await hold(atFinance('reverse', 'before-answer'));
        const id = await world.submit({ run: HELD_JOB, envs: { GO: world.file('never') } });
        await confirm.reached(id);
        world.sentinel.setRules(FROZEN);
        await confirm.open();
        await killAt(undone, id);
        await world.ended(id);
        expect(await factsOf(world, id)).toMatchObject({
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
      const heldJob = () => ({ run: HELD_JOB, envs: { GO: world.file('never') } });
      const cancel = (id: string, key?: string) => world.call('POST', `/v1/jobs/${id}:cancel`, undefined, key);
      const CANCELLED = {
        state: 'cancelled',
        reason: 'cancelled',
        attempt: 1,
        artifacts: 'none',
        receipt: { code: 0, findings: [] },
      };
      const WHILE_RUNNING = {
        ...CANCELLED,
        events: ['created', 'reserved', 'requesting', 'confirming', 'applied', 'draining', 'releasing', 'cancelled'],
        ray: ['1 STOPPED'],
        runs: 1,
        holds: ['settled'],
      };

      test('while its cancellation is all but committed: asked again by the same key, it ends cancelled', async () => {
        const point = await hold(atEvent(6));
        const id = await world.submit(heldJob());
        await whileItRuns(world).then((running) => running.reached(id));
        const key = randomUUID();
        const lost = expect(cancel(id, key)).rejects.toThrow();
        await killAt(point, id);
        await lost;
        expect((await world.booking(id)).state.state).toBe('applied');
        expect((await cancel(id, key)).status).toBe(202);
        await world.ended(id);
        expect(await factsOf(world, id)).toEqual(WHILE_RUNNING);
      });

      test.each([
        ['Ray is being asked to stop it', 'before-effect'],
        ['Ray was told to stop it and its answer is on its way', 'before-answer'],
      ] as const)('while %s: it ends cancelled, what it used is settled', async (_, when) => {
        const point = await hold(atRay('stop', when));
        const id = await world.submit(heldJob());
        await whileItRuns(world).then((running) => running.reached(id));
        expect((await cancel(id)).status).toBe(202);
        await killAt(point, id);
        await world.ended(id);
        expect(await factsOf(world, id)).toEqual(WHILE_RUNNING);
      });

      const BEFORE_APPLY = ['created', 'reserved', 'requesting', 'confirming', 'releasing', 'cancelled'];

      test.each([
        ['Ray is being asked to stop it', atRay('stop', 'before-effect')],
        ['Ray was told to stop it and its answer is on its way', atRay('stop', 'before-answer')],
        ['Finance is being asked to reverse the hold', atFinance('reverse', 'before-effect')],
        ['Finance has reversed and its answer is on its way', atFinance('reverse', 'before-answer')],
        ['its end is all but committed', atEvent(6)],
      ] as const)('before it was applied, while %s: all of it is undone', async (_, maker) => {
        const point = await hold(maker);
        const confirm = await hold(atFinance('confirm', 'before-effect'));
        const id = await world.submit(heldJob());
        const stood = point.reached(id);
        await confirm.reached(id);
        expect((await cancel(id)).status).toBe(202);
        await confirm.open();
        await stood;
        await killAt(point, id);
        await world.ended(id);
        expect(await factsOf(world, id)).toMatchObject({
          ...CANCELLED,
          events: BEFORE_APPLY,
          ray: ['1 STOPPED'],
          holds: ['reversed'],
        });
      });

      test('while its submission is on its way: a job that starts after the booking’s end is stopped', async () => {
        const point = await hold(atRay('submit', 'before-effect'));
        const id = await world.submit(heldJob());
        await point.reached(id);
        expect((await cancel(id)).status).toBe(202);
        await world.kill();
        await world.start();
        await world.ended(id);
        await point.open();
        const key = attemptKey(id as BookingId, 1);
        expect(await rayStatus(world, key, (status) => status !== 'PENDING' && status !== 'RUNNING')).toBe('STOPPED');
        expect(await factsOf(world, id)).toMatchObject({
          ...CANCELLED,
          events: ['created', 'reserved', 'requesting', 'releasing', 'cancelled'],
          ray: ['1 STOPPED'],
          holds: ['reversed'],
        });
      });

      test('while Finance is being asked for the hold: a hold that comes after the booking’s end holds nothing', async () => {
        const point = await hold(atFinance('hold', 'before-effect'));
        const id = await world.submit();
        await point.reached(id);
        expect((await cancel(id)).status).toBe(202);
        await world.kill();
        await world.start();
        await world.ended(id);
        await point.open();
        expect(await factsOf(world, id)).toEqual({
          ...CANCELLED,
          events: ['created', 'reserved', 'releasing', 'cancelled'],
          ray: [],
          runs: 0,
          holds: ['reversed'],
        });
      });
    });

    test('a submission that arrives at Ray after the restarted server’s own makes no second job', async () => {
      const point = await hold(atRay('submit', 'before-effect'));
      const id = await world.submit();
      await point.reached(id);
      await world.kill();
      await world.start();
      await world.ended(id);
      const before = world.proxy.seen.length;
      await point.open();
      await expect.poll(() => world.proxy.seen.slice(before)).toContain('POST /api/jobs/');
      expect(await factsOf(world, id)).toEqual(RELEASED);
    });

    describe('while a job is being booked', () => {
      const bookings = () =>
        world.database.db.asEngine(async (tx) =>
          Number((await tx.query<{ n: bigint }>('select count(*) as n from bookings'))[0]?.n),
        );

      test('and not committed: the caller who repeats it by its key books once', async () => {
        const before = await bookings();
        const point = await hold(atBooking());
        const key = randomUUID();
        const body = jobFile(world.file('tally'));
        const lost = expect(world.call('POST', '/v1/jobs', body, key)).rejects.toThrow();
        await killAt(point, '');
        await lost;
        expect(await bookings()).toBe(before);
        const { id } = (await world.call('POST', '/v1/jobs', body, key)).json<{ readonly id: string }>();
        await world.ended(id);
        expect(await bookings()).toBe(before + 1);
        expect(await factsOf(world, id)).toEqual(RELEASED);
      });

      test('and committed: the caller who repeats it by its key is given the same booking', async () => {
        const before = await bookings();
        const key = randomUUID();
        const body = jobFile(world.file('tally'));
        const answer = world.call('POST', '/v1/jobs', body, key).catch(() => undefined);
        await expect.poll(bookings, { interval: 5 }).toBe(before + 1);
        await world.kill();
        await answer;
        await world.start();
        const { id } = (await world.call('POST', '/v1/jobs', body, key)).json<{ readonly id: string }>();
        await world.ended(id);
        expect(await bookings()).toBe(before + 1);
        expect(await factsOf(world, id)).toEqual(RELEASED);
      });
    });
  },
);

const FROZEN: PolicyRules = {
  format: 'merit-policy-rules/1',
  deny: [{ name: 'freeze', division: 'vision', text: 'frozen for the audit' }],
  signatures: [],
};

const SUITE = {
  apiVersion: 'merit/v1',
  kind: 'Suite',
  name: 'chaos',
  metrics: { accuracy: { direction: 'higher', floor: 0, ceil: 1, required: true } },
};
