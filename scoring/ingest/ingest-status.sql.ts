import type { Tx } from '../../platform/postgres.ts';

/** What happened to the log is told for so long. */
const ALERTS_FOR = '24 hours';

/** Who reads the reports, and what somebody has to know of their log. Throws where partitions are read by nobody. */
export async function ingestStatus(tx: Tx, topic: string): Promise<string> {
  const rows = await tx.query<{ partitions: bigint; unread: bigint; members: bigint }>(
    `select count(*) as partitions, count(*) filter (where m.member is null) as unread, count(distinct m.member) as members
     from ingest_partitions p left join ingest_members m on m.topic = p.topic and m.member = p.member and m.lease_until > clock_timestamp()
     where p.topic = $1`,
    [topic],
  );
  const { partitions, unread, members } = rows[0]!;
  if (partitions === 0n) throw new Error('nobody has read reports yet');
  if (unread > 0n) throw new Error(`${unread} of ${partitions} partitions of reports are read by nobody`);
  const alerts = await tx.query<{ detail: string }>(
    `select detail from ingest_alerts where topic = $1 and kind <> 'raised' and at > clock_timestamp() - interval '${ALERTS_FOR}'
     order by alert_id desc limit 5`,
    [topic],
  );
  const state = `${partitions} partition${partitions === 1n ? '' : 's'}, ${members} reader${members === 1n ? '' : 's'}`;
  return alerts.length === 0 ? state : `${state}; ATTENTION: ${alerts.map(({ detail }) => detail).join('; ')}`;
}
