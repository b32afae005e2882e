import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { isEnded } from '../../core/booking.ts';
import { parseRoots } from '../../ledger/audit/roots.ts';
import { verifyFile } from '../../ledger/audit/verify.ts';
import { type CrashWorld, DIVISION, type Reply, TENANT } from './crash-world.ts';
import { rayJobs } from './kill-points.ts';
import { ledgerLeaks } from './ledger-leaks.ts';

const SEAL_LIMIT_MS = 20_000;
const POLL_MS = 50;
const RAY_ENDS: ReadonlySet<string> = new Set(['SUCCEEDED', 'FAILED', 'STOPPED']);

/** What is left of a booking that has ended, each told by whoever has the last word on it. */
export interface Facts {
  readonly state: string;
  readonly reason: string;
  readonly attempt: number;
  /** Its audit events in their order, without `booking.`. */
  readonly events: readonly string[];
  /** Ray's own list: `<attempt> <status>`. */
  readonly ray: readonly string[];
  /** How many times its command was run, by the command itself. */
  readonly runs: number;
  /** Finance's book: the status of each attempt's hold, `none` where it never heard of one. */
  readonly holds: readonly string[];
  /** Its stored files and logs read again: `none` where it left no files. */
  readonly artifacts: string;
  /** The offline check of its receipt. */
  readonly receipt: { readonly code: number; readonly findings: readonly unknown[] };
}

export async function factsOf(world: CrashWorld, id: string): Promise<Facts> {
  const { state } = await world.booking(id);
  if (!isEnded(state.state) || !('reason' in state)) throw new Error(`booking ${id} has not ended: ${state.state}`);
  return {
    state: state.state,
    reason: state.reason.code,
    attempt: state.attempt,
    events: await eventsOf(world, id),
    ray: await rayOf(world, id),
    runs: await runsOf(world, id),
    holds: Array.from({ length: state.attempt }, (_, i) => world.finance.get(`h-${id}-${i + 1}`)?.status ?? 'none'),
    artifacts: artifactsOf(await world.call('GET', `/v1/jobs/${id}/verification`)),
    receipt: await receiptOf(world, id),
  };
}

async function eventsOf(world: CrashWorld, id: string): Promise<readonly string[]> {
  const reply = await world.call('GET', `/v1/jobs/${id}/events`);
  const { items } = reply.json<{ readonly items: readonly { readonly n: number; readonly type: string }[] }>();
  return items.map(({ n, type }, i) => (n === i + 1 ? '' : `number ${n}: `) + type.replace(/^booking\./, ''));
}

async function rayOf(world: CrashWorld, id: string): Promise<readonly string[]> {
  const prefix = `m-${id}-`;
  return (await rayJobs(world))
    .filter((job) => job.submission_id?.startsWith(prefix))
    .map((job) => `${job.submission_id?.slice(prefix.length)} ${job.status}`)
    .sort();
}

async function runsOf(world: CrashWorld, id: string): Promise<number> {
  const tally = await readFile(world.file('tally'), 'utf8').catch(() => '');
  return tally.split('\n').filter((line) => line === id).length;
}

function artifactsOf(reply: Reply): string {
  if (reply.status === 409) return 'none';
  const { ok, manifestSha256, filesRead, findings } = reply.json<{
    ok: boolean;
    manifestSha256: string | null;
    filesRead: number;
    findings: unknown;
  }>();
  if (!ok) return JSON.stringify(findings);
  return manifestSha256 === null ? 'none' : `${filesRead} as recorded`;
}

async function receiptOf(world: CrashWorld, id: string): Promise<Facts['receipt']> {
  const deadline = performance.now() + SEAL_LIMIT_MS;
  for (;;) {
    const reply = await world.call('GET', `/v1/jobs/${id}/receipt`);
    if (reply.status === 409 && performance.now() < deadline) {
      await sleep(POLL_MS);
      continue;
    }
    if (reply.status !== 200) throw new Error(`the receipt of ${id}: ${reply.status} ${reply.bytes.toString('utf8')}`);
    const roots = parseRoots((await world.call('GET', '/v1/audit/roots')).bytes);
    if (!roots.ok) throw new Error(roots.refusal.problem);
    const { code, findings } = verifyFile(reply.bytes, roots.roots);
    return { code, findings };
  }
}

/** What must be empty whenever every booking has ended: what the ledger, Finance and Ray hold that nobody owns. */
export async function leftovers(world: CrashWorld): Promise<readonly unknown[]> {
  const { database, finance, stateDir } = world;
  const found: unknown[] = [...(await ledgerLeaks(database.db))];
  const rows = await database.db.asEngine(async (tx) => ({
    bookings: await tx.query<{ booking_id: string; state: 'waiting' }>('select booking_id, state from bookings'),
    held: await tx.query<{ account_id: string; held: bigint }>(
      `select account_id, credits_pending + credits_posted - debits_posted as held from accounts
       where kind = 'quota' and credits_pending + credits_posted <> debits_posted`,
    ),
    spent: await tx.query<{ spent: bigint }>(
      `select coalesce(sum(credits_posted - debits_posted), 0)::bigint as spent from accounts where kind = 'spend'`,
    ),
  }));
  for (const { booking_id: id, state } of rows.bookings) if (!isEnded(state)) found.push(`booking ${id} is ${state}`);
  found.push(...rows.held);
  const spent = rows.spent[0]?.spent;
  const settled = finance.used(TENANT, DIVISION, 'USD');
  if (spent !== settled) found.push(`Finance has ${settled} cents held or settled, the ledger ${spent}`);
  const tag = `merit-${(await readFile(`${stateDir}/instance-id`, 'utf8')).trim()}`;
  for (const job of await rayJobs(world)) {
    if (job.metadata?.merit_tag === tag && !RAY_ENDS.has(job.status))
      found.push(`Ray still has ${job.submission_id} as ${job.status}`);
  }
  return found;
}
