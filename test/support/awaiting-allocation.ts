import type { Statement } from '../../core/approval.ts';
import type { SigningPolicy } from '../../core/signing-policy.ts';
import { systemClock } from '../../platform/clock.ts';
import { postgresDesk } from '../../scheduler/apply/booking-desk.sql.ts';
import { loadBooking } from '../../scheduler/apply/booking-store.ts';
import type { StepContext } from '../../scheduler/apply/context.ts';
import { commitMoves } from '../../scheduler/apply/moves.ts';
import { allocationRequest } from '../../scheduler/apply/reserve.ts';
import { askForSignatures } from '../../scheduler/signatures/await-signatures.ts';
import type { HttpWorld } from './http-world.ts';

/** A proposal as the API tells it. */
export interface Shown {
  readonly id: string;
  readonly statement: Statement;
  readonly statementHash: string;
}

/** A booking for whose signatures the engine has asked. */
export async function awaitingAllocation(
  { call, database }: HttpWorld,
  signing: SigningPolicy,
): Promise<{ id: string; proposal: Shown }> {
  const booked = await call('POST', '/v1/jobs', {
    name: 'train',
    division: 'vision',
    resources: { cpus: 1 },
    pools: ['cpus'],
    run: 'true',
  });
  const { id } = booked.json() as { id: string };
  const { db } = database;
  const booking = await db.asEngine((tx) => loadBooking(tx, id));
  if (booking === undefined) throw new Error('it was booked');
  const placement = {
    pool: 'cpus',
    flavour: 'small',
    provider: 'local',
    gpuMilli: '0',
    cpuMilli: '1000',
    holdCents: '5000',
    currency: 'USD',
    centsPerUnitHour: '50',
  };
  const ctx = {
    clock: systemClock,
    tag: 'merit-test',
    signingOf: () => signing,
    desk: postgresDesk(db, 0n),
    commit: async (move) => {
      const [moved] = await db.asEngine((tx) => commitMoves(tx, [move]));
      if (moved?.kind !== 'moved') throw new Error('it moves');
      return moved.booking;
    },
  } as Partial<StepContext> as StepContext;
  const policy = { decisionId: 'd1', policyVersion: 'v1', requestHash: 'x', signatures: 2 };
  await askForSignatures(ctx, booking, allocationRequest(booking, 1, placement), {
    policy,
    bySentinelNet: 2,
    evidence: { asked: true },
  });
  const { proposals } = (await call('GET', `/v1/allocations/${id}`)).json() as { proposals: [Shown] };
  return { id, proposal: proposals[0] };
}
