import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../platform/clock.ts';
import { type Leadership, lead } from '../../platform/leader.ts';
import type { Nominator, Seat } from '../../platform/nominator.ts';
import { StaleLeader } from '../../platform/postgres.ts';
import { type TestDatabase, testDatabase } from './db.ts';
import { type NominatorKind, nominatorFor } from './nominators.ts';

const CHILD = fileURLToPath(new URL('./leader-child.ts', import.meta.url));

/** Where who nominates is, as `nominatorFor` takes it. */
export interface NominatorStand {
  readonly at: string;
  stop(): Promise<void>;
}

/** What holds of leadership whoever nominates: registers the tests, or skips them for the reason given. */
export function leadershipRules(
  kind: NominatorKind,
  options: { readonly leaseMs: number; readonly missing: string | undefined; start(): Promise<NominatorStand> },
): void {
  const { leaseMs, missing } = options;
  describe.skipIf(missing !== undefined)(
    `leadership nominated by ${kind}${missing === undefined ? '' : ` (${missing})`}`,
    () => {
      let t: TestDatabase;
      let stand: NominatorStand;
      const held: Leadership[] = [];
      const nominators: Nominator[] = [];
      const children: ChildProcess[] = [];

      beforeAll(async () => {
        t = await testDatabase();
        await t.db.asEngine((tx) => tx.execute("insert into tenants (tenant) values ('acme')"));
        stand = await options.start();
      });
      afterEach(async () => {
        for (const child of children.splice(0)) child.kill('SIGKILL');
        for (const leadership of held.splice(0)) await leadership.resign().catch(() => {});
        for (const nominator of nominators.splice(0)) await nominator.close();
      });
      afterAll(async () => {
        await stand?.stop();
        await t.close();
      });

      async function nominatorOf(): Promise<Nominator> {
        const made = await nominatorFor(kind, t.urls.engine, stand.at, leaseMs);
        nominators.push(made);
        return made;
      }

      /** Each of them a process of its own, as far as who nominates can tell. */
      async function nominated(
        holder: string,
        seat: Seat = 'engine',
        signal = new AbortController().signal,
      ): Promise<Leadership> {
        const options = { engineUrl: t.urls.engine, nominator: await nominatorOf(), holder, clock: systemClock };
        const leadership = await lead(options, seat, signal);
        if (leadership === undefined) throw new Error(`${holder} was not nominated`);
        held.push(leadership);
        return leadership;
      }

      test('one leads at a time; the next one has a newer epoch, and the old one changes nothing any more', async () => {
        const first = await nominated('first');
        let hasSecond = false;
        const waiting = nominated('second').finally(() => {
          hasSecond = true;
        });
        // Longer than the lease: it is renewed.
        await systemClock.sleep(2 * leaseMs, new AbortController().signal);
        expect(hasSecond).toBe(false);
        expect(first.lost.aborted).toBe(false);
        await t.db.asLeader(first.epoch, (tx) => tx.query('select 1'));
        await first.resign();
        const second = await waiting;
        expect(second.epoch).toBeGreaterThan(first.epoch);
        expect(first.lost.aborted).toBe(true);
        await expect(t.db.asLeader(first.epoch, (tx) => tx.query('select 1'))).rejects.toThrow(StaleLeader);
      });

      test('each seat has a leader of its own, and a new one of one seat leaves the others as they are', async () => {
        const engine = await nominated('one', 'engine');
        const sweeps = await nominated('two', 'reconciler');
        expect(sweeps.epoch).not.toBe(engine.epoch);
        await engine.resign();
        const next = await nominated('three', 'engine');
        await expect(t.db.asLeader(engine.epoch, (tx) => tx.query('select 1'))).rejects.toThrow(StaleLeader);
        for (const { epoch } of [sweeps, next]) await t.db.asLeader(epoch, (tx) => tx.query('select 1'));
      });

      test('who waits is not nominated once its signal came', async () => {
        await nominated('holder');
        const stop = new AbortController();
        const options = {
          engineUrl: t.urls.engine,
          nominator: await nominatorOf(),
          holder: 'waiting',
          clock: systemClock,
        };
        const waiting = lead(options, 'engine', stop.signal);
        stop.abort();
        expect(await waiting).toBeUndefined();
      });

      test('a leader that is frozen for three leases is passed over, and writes nothing once it wakes up', async () => {
        const frozen = start('frozen');
        const epoch = await frozen.said(/^wrote (\d+)/);
        const next = start('next');
        frozen.child.kill('SIGSTOP');
        const stoppedAt = performance.now();
        const newer = await next.said(/^wrote (\d+)/);
        expect(Number(newer)).toBeGreaterThan(Number(epoch));
        await systemClock.sleep(
          Math.max(0, 3 * leaseMs - (performance.now() - stoppedAt)),
          new AbortController().signal,
        );
        const count = async () =>
          Number(
            (
              await t.db.asEngine((tx) =>
                tx.query<{ n: bigint }>('select count(*) as n from evidence where starts_with(hash, $1)', [
                  `${epoch}-`,
                ]),
              )
            )[0]!.n,
          );
        const before = await count();
        frozen.child.kill('SIGCONT');
        expect(await frozen.said(/^(stale|fault) /)).toMatch(/stale|fault/);
        await systemClock.sleep(500, new AbortController().signal);
        expect(await count()).toBe(before);
      });

      function start(name: string): { readonly child: ChildProcess; said(pattern: RegExp): Promise<string> } {
        const args = ['--conditions=merit-source', CHILD, kind, t.urls.engine, stand.at, name, String(leaseMs)];
        const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
        children.push(child);
        let text = '';
        const waits = new Set<() => void>();
        child.stdout?.on('data', (data: Buffer) => {
          text += data.toString();
          for (const wake of waits) wake();
        });
        const said = async (pattern: RegExp) => {
          for (;;) {
            const line = text.split('\n').find((one) => pattern.test(one));
            if (line !== undefined) return pattern.exec(line)![1]!;
            await new Promise<void>((resolve) => waits.add(resolve));
          }
        };
        return { child, said };
      }
    },
  );
}
