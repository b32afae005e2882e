import type { Fence, Tx } from '../../platform/postgres.ts';

/**
 * Which of the processes that read a topic reads which partition. It is decided here, in the database that the effects are committed to: a
 * partition's row names its reader and an epoch that grows with each, and every flush holds that row. Who was passed over, frozen inside a
 * transaction or before it, changes nothing.
 */

/** A reader that was not heard of for so long is passed over. */
export const MEMBER_LEASE_MS = 10_000;

/** One whose process is seen to be gone from this machine is not waited for so long: it is silent for more than two of its rounds. */
const GONE_SILENT_MS = 3_000;

/** A partition as one reader has it. */
export interface Owned {
  readonly topic: string;
  readonly member: string;
  readonly partition: number;
  readonly epoch: bigint;
  /** Of the topic: all readers work by the same one. */
  readonly layout: bigint;
}

/** The partition, or the topic as it was, is somebody else's by now: nothing was changed. */
export class StaleOwner extends Error {
  override name = 'StaleOwner';
}

/** Of connections in a member's transactions: who takes over from a frozen one finds them by it. */
const APPLICATION = 'merit ingest';

/** A replay has tables of its own, and locks: names are those of the schema that is looked into first. */
const keyOf = (what: 'layout' | 'members') =>
  `hashtextextended(concat_ws(' ', 'ingest', '${what}', current_schema(), $1::text), 0)`;

/** Lets a flush begin where the partition is the member's, and the layout stands; both stay so until it ends. */
export function partitionFence(owned: Owned): Fence {
  const { topic, member, partition, epoch, layout } = owned;
  return (tx) =>
    requireLayout(tx, topic, layout, () =>
      tx.query(
        `select set_config('application_name', $5, true), (select layout from ingest_topics t where t.topic = $1) as layout
         from ingest_partitions where topic = $1 and partition = $2 and epoch = $3 and member = $4 for share`,
        [topic, partition, epoch, member, applicationOf(member)],
      ),
    );
}

/** The same for work on suites, which any reader may do that was not passed over. */
export function memberFence(owned: Pick<Owned, 'topic' | 'member' | 'layout'>): Fence {
  const { topic, member, layout } = owned;
  return (tx) =>
    requireLayout(tx, topic, layout, () =>
      tx.query(
        `select set_config('application_name', $3, true), (select layout from ingest_topics t where t.topic = $1) as layout
         from ingest_members where topic = $1 and member = $2 for key share`,
        [topic, member, applicationOf(member)],
      ),
    );
}

async function requireLayout(
  tx: Tx,
  topic: string,
  layout: bigint,
  look: () => Promise<readonly object[]>,
): Promise<void> {
  // An advisory lock and not the row's: it is given in order, so that who changes the layout is not kept waiting by one flush after another.
  const [, rows] = await Promise.all([
    tx.query(`select pg_advisory_xact_lock_shared(${keyOf('layout')})`, [topic]),
    look(),
  ]);
  const found = rows[0] as { readonly layout: bigint | null } | undefined;
  if (found === undefined) throw new StaleOwner(`${topic}: another reader has taken over`);
  if (found.layout !== layout) throw new StaleOwner(`${topic}: its layout is another than ${layout}`);
}

/** Waits for every flush that has begun, and lets no other begin before the transaction ends. */
export async function stopFlushes(tx: Tx, topic: string): Promise<void> {
  await tx.query(`select pg_advisory_xact_lock(${keyOf('layout')})`, [topic]);
}

function applicationOf(member: string): string {
  return `${APPLICATION} ${member}`;
}

export interface Member {
  readonly topic: string;
  readonly member: string;
  /** Names the process. */
  readonly holder: string;
  readonly leaseMs: number;
  /** Is it known here that the process of that name has ended? */
  readonly isGone: (holder: string) => boolean;
}

/**
 * One round of a member: it says that it is there, passes over those that were not heard of, gives up what it has beyond its share and claims
 * what nobody has up to it. Called between two flushes. Rounds follow one another; that shares are fair is each one's own part of it.
 * Returns what is the member's now: partition → epoch.
 */
export async function takeShare(tx: Tx, member: Member): Promise<ReadonlyMap<number, bigint>> {
  const { topic } = member;
  await tx.query(`select pg_advisory_xact_lock(${keyOf('members')})`, [topic]);
  await joinMembers(tx, member);
  await passOver(tx, member);
  const members = (
    await tx.query<{ member: string }>('select member from ingest_members where topic = $1 order by member', [topic])
  ).map((row) => row.member);
  const partitions = await tx.query<PartitionRow>(
    'select partition, epoch, member from ingest_partitions where topic = $1 order by partition',
    [topic],
  );
  const mine = partitions.filter((row) => row.member === member.member);
  const room = quotaOf(member.member, members, partitions) - mine.length;
  const surplus = mine.slice(mine.length + Math.min(0, room)).map((row) => row.partition);
  const free = partitions.filter((row) => row.member === null || !members.includes(row.member));
  const wanted = free.slice(0, Math.max(0, room)).map((row) => row.partition);
  if (surplus.length > 0) {
    await tx.execute('update ingest_partitions set member = null where topic = $1 and partition = any($2::integer[])', [
      topic,
      surplus,
    ]);
  }
  const claimed = wanted.length === 0 ? [] : await claim(tx, member, wanted);
  const kept = mine.filter((row) => !surplus.includes(row.partition));
  return new Map([...kept, ...claimed].map((row) => [row.partition, row.epoch]));
}

interface PartitionRow {
  readonly partition: number;
  readonly epoch: bigint;
  readonly member: string | null;
}

/** Waits for a flush of the partition that is under way. */
function claim(tx: Tx, { topic, member }: Member, partitions: readonly number[]): Promise<readonly PartitionRow[]> {
  return tx.query<PartitionRow>(
    `update ingest_partitions set member = $3, epoch = epoch + 1, claimed_at = clock_timestamp()
     where topic = $1 and partition = any($2::integer[]) returning partition, epoch, member`,
    [topic, partitions, member],
  );
}

/** Those who have most keep one more where the partitions cannot be shared evenly, so that as few as can be change hands. */
function quotaOf(member: string, members: readonly string[], partitions: readonly PartitionRow[]): number {
  const count = (one: string) => partitions.filter((row) => row.member === one).length;
  const ranked = [...members].sort((a, b) => count(b) - count(a) || (a < b ? -1 : 1));
  const more = partitions.length % members.length;
  return Math.floor(partitions.length / members.length) + (ranked.indexOf(member) < more ? 1 : 0);
}

async function joinMembers(tx: Tx, { topic, member, holder, leaseMs }: Member): Promise<void> {
  await tx.execute(
    `insert into ingest_members (topic, member, holder, heard_at, lease_until)
     values ($1, $2, $3, clock_timestamp(), clock_timestamp() + $4 * interval '1 ms')
     on conflict (topic, member) do update set heard_at = excluded.heard_at, lease_until = excluded.lease_until`,
    [topic, member, holder, leaseMs],
  );
}

/** What a frozen one holds in a transaction it would hold until it wakes: its connections are ended. */
async function passOver(tx: Tx, { topic, isGone }: Member): Promise<void> {
  const silent = await tx.query<{ member: string; holder: string; expired: boolean }>(
    `select member, holder, lease_until < clock_timestamp() as expired from ingest_members
     where topic = $1 and (lease_until < clock_timestamp() or heard_at < clock_timestamp() - $2 * interval '1 ms') order by member`,
    [topic, GONE_SILENT_MS],
  );
  for (const { member } of silent.filter(({ expired, holder }) => expired || isGone(holder))) {
    await tx.query(
      `select pg_terminate_backend(pid, ${TERMINATE_WAIT_MS}) from pg_stat_activity
       where datname = current_database() and application_name = $1 and pid <> pg_backend_pid()`,
      [applicationOf(member)],
    );
    await tx.execute('delete from ingest_members where topic = $1 and member = $2', [topic, member]);
  }
}

const TERMINATE_WAIT_MS = 1_000;

/** Says that the member is there, also while a step takes long. One that was passed over stays so. */
export async function renewMember(
  tx: Tx,
  { topic, member, leaseMs }: Pick<Member, 'topic' | 'member' | 'leaseMs'>,
): Promise<void> {
  await tx.execute(
    `update ingest_members set heard_at = clock_timestamp(), lease_until = clock_timestamp() + $3 * interval '1 ms'
     where topic = $1 and member = $2`,
    [topic, member, leaseMs],
  );
}

/** All that it has is free at once. */
export async function leaveMembers(tx: Tx, { topic, member }: Pick<Member, 'topic' | 'member'>): Promise<void> {
  await tx.query(`select pg_advisory_xact_lock(${keyOf('members')})`, [topic]);
  await tx.execute('update ingest_partitions set member = null where topic = $1 and member = $2', [topic, member]);
  await tx.execute('delete from ingest_members where topic = $1 and member = $2', [topic, member]);
}
