import { writeFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { attemptKey, type BookingId } from '../../core/ids.ts';
import { CASE_LIMIT_MS, crashCases, RELEASED } from '../support/crash-cases.ts';
import { type Facts, factsOf } from '../support/crash-facts.ts';
import { HELD_JOB, QUICK_JOB, SUITE, type TestJob, VERSION } from '../support/crash-world.ts';
import {
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
  running,
} from '../support/kill-points.ts';
import { rayMissing } from '../support/ray.ts';
import { dueToday, isWhole } from '../support/rotating.ts';

const OUT = 'OUT=$(printf %s "$MERIT_OUTPUTS" | sed s,^file://,,)';
const REPORT = `{\\"schemaVersion\\":1,\\"reportId\\":\\"r-$MERIT_BOOKING\\",\\"producer\\":\\"job-$MERIT_BOOKING\\",\\"model\\":\\"${VERSION}\\",\\"suite\\":\\"${SUITE}\\",\\"observedAt\\":\\"2026-01-05T09:00:00Z\\",\\"metrics\\":{\\"accuracy\\":0.5}}`;
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
    { during: 'the end of its log is all but committed', at: atEvent(6) },
    { during: 'the manifest is all but committed', at: atEvent(7) },
    { during: 'the release is all but committed', at: atEvent(8) },
  ],
  'from releasing to released': [
    { during: 'Ray is being asked whether anything still runs', at: atReleaseLook(8) },
    { during: 'Finance is being asked to settle', at: atFinance('settle', 'before-effect') },
    { during: 'Finance has settled and its answer is on its way', at: atFinance('settle', 'before-answer') },
    { during: 'the end is all but committed', at: atEvent(9) },
  ],
};

const missing = rayMissing();

describe.skipIf(missing !== undefined)(
  `a server killed by kill -9 at a step of a booking${missing === undefined ? '' : ` (skipped: ${missing})`}`,
  { timeout: CASE_LIMIT_MS },
  () => {
    const cases = crashCases();
    const { hold, killAt } = cases;

    const due = new Set(dueToday(Object.values(STEPS).flat()));
    for (const [edge, steps] of Object.entries(STEPS)) {
      const now = steps.filter((step) => due.has(step));
      if (now.length === 0) continue;
      describe(edge, () => {
        for (const { during, at, job, left } of now) {
          test(`while ${during}: the booking finishes, once`, async () => {
            const point = await hold(at);
            const id = await cases.world.submit(job);
            await killAt(point, id);
            await cases.world.ended(id);
            expect(await factsOf(cases.world, id)).toEqual({ ...RELEASED, ...left });
          });
        }
      });
    }

    test('while its reports are being published: the booking finishes, once, and the reports count once', async () => {
      const point = await hold(atReports());
      const id = await cases.world.submit({ run: REPORTING_JOB });
      await killAt(point, id);
      await cases.world.ended(id);
      expect(await factsOf(cases.world, id)).toEqual({ ...RELEASED, artifacts: '2 as recorded' });
      const counted = () =>
        cases.world.database.db.asEngine((tx) =>
          tx.query('select accepted, quarantined, conflicts from input_counters where suite = $1', [SUITE]),
        );
      await expect.poll(counted, { timeout: 10_000 }).toEqual([{ accepted: 1n, quarantined: 0n, conflicts: 0n }]);
    });

    if (isWhole)
      describe('while the job runs', () => {
        test('and started again before it ends, it goes on watching the same job', async () => {
          const id = await cases.world.submit({ run: HELD_JOB, envs: { GO: cases.world.file('go-1') } });
          await running(cases.world, id);
          await cases.world.kill();
          await cases.world.start();
          await writeFile(cases.world.file('go-1'), '');
          await cases.world.ended(id);
          expect(await factsOf(cases.world, id)).toEqual(RELEASED);
        });

        test('and started again after it ended, it finds the outcome', async () => {
          const id = await cases.world.submit({ run: HELD_JOB, envs: { GO: cases.world.file('go-2') } });
          await running(cases.world, id);
          await cases.world.kill();
          await writeFile(cases.world.file('go-2'), '');
          await rayStatus(cases.world, attemptKey(id as BookingId, 1), (status) => status === 'SUCCEEDED');
          await cases.world.start();
          await cases.world.ended(id);
          expect(await factsOf(cases.world, id)).toEqual(RELEASED);
        });
      });

    if (isWhole)
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
            if (id === undefined) id = await cases.world.submit();
            else await cases.world.start();
            await point.reached(id);
            await cases.world.kill();
            await point.open();
          }
          await cases.world.start();
          await cases.world.ended(id as string);
          expect(await factsOf(cases.world, id as string)).toEqual(RELEASED);
        });

        test('with five bookings under way, each at another call: all of them finish, each once', async () => {
          const makers = [
            atFinance('settle', 'before-effect'),
            atFinance('confirm', 'before-effect'),
            atRay('submit', 'before-effect'),
            atFinance('hold', 'before-effect'),
            atSentinelNet('decide', 'before-effect'),
          ];
          const points: KillPoint[] = [];
          const ids: string[] = [];
          // The one that goes farthest first: what holds a call holds it for all that come later.
          for (const maker of makers) {
            const point = await hold(maker);
            const id = await cases.world.submit();
            await point.reached(id);
            points.push(point);
            ids.push(id);
          }
          await cases.world.kill();
          for (const point of points) await point.open();
          await cases.world.start();
          for (const id of ids) {
            await cases.world.ended(id);
            expect(await factsOf(cases.world, id)).toEqual(RELEASED);
          }
        });

        test('while the retry of a failed job is all but committed: the next attempt runs once', async () => {
          const point = await hold(atEvent(8));
          const failsFirst = `[ "$MERIT_ATTEMPT" = 1 ] && exit 3; ${QUICK_JOB}`;
          const id = await cases.world.submit({ run: failsFirst, max_restarts: 1 });
          await killAt(point, id);
          await cases.world.ended(id);
          const [created, ...once] = RELEASED.events;
          expect(await factsOf(cases.world, id)).toEqual({
            ...RELEASED,
            attempt: 2,
            events: [created, ...once.slice(0, 4), 'log.ended', 'releasing', 'waiting', ...once],
            ray: ['1 FAILED', '2 SUCCEEDED'],
            holds: ['settled', 'settled'],
          });
        });
      });

    test('a submission that arrives at Ray after the restarted server’s own makes no second job', async () => {
      const point = await hold(atRay('submit', 'before-effect'));
      const id = await cases.world.submit();
      await point.reached(id);
      await cases.world.kill();
      await cases.world.start();
      await cases.world.ended(id);
      const before = cases.world.proxy.seen.length;
      await point.open();
      await expect.poll(() => cases.world.proxy.seen.slice(before)).toContain('POST /api/jobs/');
      expect(await factsOf(cases.world, id)).toEqual(RELEASED);
    });
  },
);
