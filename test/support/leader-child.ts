/**
 * Leads the engine's seat and writes a row as often as it can by its epoch: `leader-child.ts KIND ENGINE_URL AT NAME LEASE_MS`. Each row
 * that was committed is told on stdout as `wrote EPOCH`, and each write that was refused as `stale EPOCH`.
 */
import { systemClock } from '../../platform/clock.ts';
import { lead } from '../../platform/leader.ts';
import { openDatabase, StaleLeader } from '../../platform/postgres.ts';
import { type NominatorKind, nominatorFor } from './nominators.ts';

const [kind, engineUrl, at, holder, lease] = process.argv.slice(2) as [NominatorKind, string, string, string, string];
const nominator = await nominatorFor(kind, engineUrl, at, Number(lease));
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
