import { setTimeout as sleep } from 'node:timers/promises';
import { isEnded, type StateName, TRANSITIONS } from '../../core/booking.ts';
import type { Booking } from '../../scheduler/apply/booking-store.ts';
import { Allocator } from '../../scheduler/apply/engine.ts';
import { NO_METRICS, type ScoringContext } from '../../scoring/context.ts';
import { runRetrains } from '../../scoring/retrain/retrain-worker.ts';
import { Scene, type Story } from './saga-stories.ts';
import { ORDERED, type Plan, Wire, wiredContext, wiredDatabase } from './saga-wire.ts';
import { type SagaWorld, TENANT } from './saga-world.ts';
import { type StoryTime, storyTime } from './story-time.ts';

export interface Told {
  /** Nodes of the process that the story began with. */
  readonly nodes: readonly string[];
  /** How many of the ordered faults happened. */
  readonly met: number;
  readonly ends: readonly StateName[];
  /** What it left behind: nothing, where all is well. */
  readonly leaks: readonly string[];
}

/** Of the story's time. Only for what hangs. */
const STORY_LIMIT_MS = 40 * 60_000;
const LOOK_EVERY_MS = 4;

export interface Process {
  readonly wire: Wire;
  /** Faults that were not the test's. */
  readonly errors: readonly string[];
  wake(id: string): void;
  stop(): Promise<void>;
}

export function startProcess(world: SagaWorld, story: Pick<Story, 'retrains'>, wire: Wire, time: StoryTime): Process {
  const { context, epoch } = world.current();
  const stop = new AbortController();
  const errors: string[] = [];
  const error = (fields: object, message: string) => {
    const text = `${message}: ${JSON.stringify(fields)}`;
    if (!text.includes(ORDERED)) errors.push(text);
  };
  const ctx = { ...wiredContext(wire, context, time), log: { ...context.log, error } };
  const allocator = new Allocator(ctx);
  const running: Promise<unknown>[] = [allocator.run(stop.signal).catch(() => {})];
  if (story.retrains === true) {
    const { clock, log } = ctx;
    const db = wiredDatabase(wire, world.database.db);
    const scoring = { db, epoch, clock, log, metrics: NO_METRICS } as Partial<ScoringContext> as ScoringContext;
    running.push(runRetrains(scoring, stop.signal).catch(() => {}));
  }
  return {
    wire,
    errors,
    wake: (id) => allocator.wake(id),
    stop: async () => {
      stop.abort();
      // Whatever a dead process waited for never comes.
      if (!wire.isDead) await Promise.all(running);
    },
  };
}

/** Tells a story to its end, by another process from where the first one crashed; then looks for what it left. */
export async function tell(world: SagaWorld, story: Story, plan: Plan = () => undefined): Promise<Told> {
  const scene = new Scene(world);
  const time = storyTime();
  const meanwhile = async (name: string) => story.meanwhile?.(scene, name);
  const first = new Wire(plan, meanwhile);
  let process = startProcess(world, story, first, time);
  const processes = [process];
  const versions = new Map<string, bigint>();
  const deadline = time.now() + STORY_LIMIT_MS;
  await story.begin(scene);
  let bookings: readonly Booking[] = [];
  for (;;) {
    if (process.wire.isDead) {
      await world.lead();
      process = startProcess(world, story, new Wire(() => undefined, meanwhile), time);
      processes.push(process);
    }
    const over = (await story.isOver?.(scene)) ?? true;
    bookings = await Promise.all([...scene.cast.values()].map((id) => world.get(id)));
    for (const booking of bookings) {
      if (versions.get(booking.bookingId) !== booking.version) process.wake(booking.bookingId);
      versions.set(booking.bookingId, booking.version);
      await story.react(scene, booking);
    }
    const ended = scene.cast.size === bookings.length && bookings.every(({ state }) => isEnded(state.state));
    if (over && ended && !process.wire.isDead) break;
    if (time.now() > deadline) {
      await process.stop();
      throw new Error(`${story.name} hangs: ${JSON.stringify(bookings.map(({ state }) => state))}`);
    }
    await sleep(LOOK_EVERY_MS);
  }
  await process.stop();
  return {
    nodes: first.nodes,
    met: first.met,
    ends: bookings.map(({ state }) => state.state),
    leaks: [...processes.flatMap(({ errors }) => errors), ...(await leaksOf(world, bookings))],
  };
}

/** What bookings that have ended left behind, each told by whoever has the last word on it. */
export async function leaksOf(world: SagaWorld, bookings: readonly Booking[]): Promise<readonly string[]> {
  const leaks: string[] = [];
  const ids = bookings.map(({ bookingId }) => bookingId);
  const rows = await world.database.db.asEngine(async (tx) => ({
    accounts: await tx.query<{ account_id: string }>(
      `select account_id from accounts where debits_pending <> 0 or credits_pending <> 0
         or (kind in ('quota', 'capacity', 'group') and credits_posted <> debits_posted)`,
    ),
    pending: await tx.query<{ transfer_id: string }>('select transfer_id from pending_transfers'),
    spent: await tx.query<{ spent: bigint }>(
      "select coalesce(sum(credits_posted - debits_posted), 0)::bigint as spent from accounts where kind = 'spend'",
    ),
    live: await tx.query<{ booking_id: string; state: string }>(
      'select booking_id, state from bookings where not ended',
    ),
    attempts: await tx.query<{ key: string }>(
      'select key from attempts where ended_at is null and booking_id = any($1)',
      [ids],
    ),
    proposals: await tx.query<{ proposal_id: string }>(
      "select proposal_id from proposals where state = 'met' or (state = 'open' and action = 'allocation.apply')",
    ),
    events: await tx.query<{ subject: string; subject_seq: number; type: string }>(
      'select subject, subject_seq, type from audit_events where subject = any($1) order by subject, subject_seq',
      [ids.map((id) => `booking/${id}`)],
    ),
  }));
  leaks.push(...rows.accounts.map(({ account_id: id }) => `account ${id} has something left`));
  leaks.push(...rows.pending.map(({ transfer_id: id }) => `transfer ${id} is pending`));
  leaks.push(...rows.live.map(({ booking_id: id, state }) => `booking ${id} is ${state} still`));
  leaks.push(...rows.attempts.map(({ key }) => `attempt ${key} has not ended`));
  leaks.push(...rows.proposals.map(({ proposal_id: id }) => `proposal ${id} is left`));
  leaks.push(...world.provider.live.map((key) => `job ${key} runs`));
  const settled = world.finance.used(TENANT, 'vision', 'USD');
  if (rows.spent[0]?.spent !== settled)
    leaks.push(`the ledger spent ${rows.spent[0]?.spent}, Finance settled ${settled}`);
  for (const booking of bookings) {
    const events = rows.events.filter(({ subject }) => subject === `booking/${booking.bookingId}`);
    leaks.push(...historyLeaks(booking, events), ...worldLeaks(world, booking));
  }
  return leaks;
}

/** One audit event a transition, each transition a legal one, one end. */
function historyLeaks(booking: Booking, events: readonly { readonly type: string }[]): readonly string[] {
  const leaks: string[] = [];
  const { bookingId, state, version } = booking;
  const states = events.flatMap(({ type }): readonly StateName[] => {
    const told = type === 'booking.created' ? 'waiting' : type.replace(/^booking\./, '');
    return Object.hasOwn(TRANSITIONS, told) ? [told as StateName] : [];
  });
  const extensions = events.filter(({ type }) => type.startsWith('booking.exten')).length;
  for (const [i, to] of states.entries()) {
    const from = states[i - 1];
    if (from !== undefined && !TRANSITIONS[from].includes(to)) leaks.push(`${bookingId} went from ${from} to ${to}`);
  }
  if (states.filter(isEnded).length !== 1) leaks.push(`${bookingId} ended ${states.filter(isEnded).join(' and ')}`);
  if (states.at(-1) !== state.state) leaks.push(`${bookingId} is ${state.state}, and its trail says ${states.at(-1)}`);
  if (BigInt(states.length + extensions) !== version)
    leaks.push(`${bookingId} is at version ${version} after ${states.length} transitions and ${extensions} extensions`);
  return leaks;
}

/** Each attempt's holds are settled or given back. */
function worldLeaks(world: SagaWorld, { bookingId, state }: Booking): readonly string[] {
  const leaks: string[] = [];
  for (let attempt = 1; attempt <= state.attempt; attempt++) {
    const holds = [`h-${bookingId}-${attempt}`, ...[1, 2].map((n) => `h-${bookingId}-${attempt}-x${n}`)];
    for (const id of holds) {
      const { status } = world.finance.get(id) ?? {};
      if (status === 'held' || status === 'confirmed') leaks.push(`hold ${id} is ${status}`);
    }
  }
  return leaks;
}
