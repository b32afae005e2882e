/**
 * Leads the engine's seat and writes a row as often as it can by its epoch: `leader-child.ts KIND ENGINE_URL REDIS_URL NAME LEASE_MS`. Each row
 * that was committed is told on stdout as `wrote EPOCH`, and each write that was refused as `stale EPOCH`.
 */
import { systemClock } from '../../platform/clock.ts';
import { lead } from '../../platform/leader.ts';
import { postgresNominator } from '../../platform/nominator-postgres.ts';
import { redisNominator } from '../../platform/nominator-redis.ts';
import { openDatabase, StaleLeader } from '../../platform/postgres.ts';

const [kind, engineUrl, redisUrl, holder, lease] = process.argv.slice(2) as [string, string, string, string, string];
const leaseMs = Number(lease);
const nominator =
  kind === 'redis'
    ? await redisNominator(redisUrl, new URL(engineUrl).pathname.slice(1), leaseMs)
    : postgresNominator(engineUrl, leaseMs);
const db = openDatabase({ appUrl: engineUrl, engineUrl, maxConnections: 2 });
for (;;) {
  const leadership = await lead(
    { engineUrl, nominator, holder, clock: systemClock },
    'engine',
    new AbortController().signal,
  );
  if (leadership === undefined) break;
  const { epoch } = leadership;
  try {
    // A leader that does not look whether it still is one: the epoch alone has to stop it.
    for (;;) {
      await db.asLeader(epoch, (tx) =>
        tx.execute("insert into evidence (tenant, hash, body) values ('acme', $1 || '-' || gen_random_uuid(), '')", [
          String(epoch),
        ]),
      );
      console.log(`wrote ${epoch}`);
      await systemClock.sleep(20, new AbortController().signal);
    }
  } catch (error) {
    console.log(`${error instanceof StaleLeader ? 'stale' : 'fault'} ${epoch}`);
    await leadership.resign().catch(() => {});
  }
}
