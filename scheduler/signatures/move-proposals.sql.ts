import { textArray, timestampArray } from '../../platform/pg-arrays.ts';
import type { Tx } from '../../platform/postgres.ts';
import type { Move, Taken } from '../apply/moves.ts';
import { proposalEnd } from './proposal.ts';
import { insertProposals } from './proposals.sql.ts';

/** What moves do to proposals, in their own transaction. Those of bookings that nobody has to sign cost no statement. */

/**
 * The proposals among those that moves rest on that may be used now: enough people signed, nothing ended it, it has not expired, and the signing policy is the
 * one by which the signatures were counted. Held to the transaction's end.
 */
export async function usableProposals(tx: Tx, moves: readonly Move[]): Promise<ReadonlySet<string>> {
  const resting = moves.flatMap(({ quorum, nowMs, booking }) =>
    quorum === undefined ? [] : [{ ...quorum, nowMs, tenant: booking.tenant }],
  );
  if (resting.length === 0) return new Set();
  const rows = await tx.query<{ proposal_id: string }>(
    `select p.proposal_id from proposals p
       join unnest($1::text[], $2::bigint[], $3::timestamptz[]) as r (id, signers, at) on r.id = p.proposal_id
       join quota_documents d on d.tenant = p.tenant and d.kind = 'SigningPolicy' and d.version = r.signers
     where p.state = 'met' and p.expires_at > r.at order by p.proposal_id for update of p for share of d`,
    [
      textArray(resting.map(({ proposal }) => proposal)),
      resting.map(({ signers }) => signers),
      timestampArray(resting.map(({ nowMs }) => nowMs)),
    ],
  );
  return new Set(rows.map((row) => row.proposal_id));
}

/** What moves make of the proposals that they are about, then what they propose. */
export async function settleProposals(tx: Tx, taken: readonly Taken[]): Promise<void> {
  const ends = taken.flatMap(({ move, next }) => {
    const end = proposalEnd(move.booking.state, move.event, next);
    return end === undefined ? [] : [{ ...end, nowMs: move.nowMs }];
  });
  if (ends.length > 0)
    await tx.execute(
      `update proposals p set state = e.state, ended_at = case when e.state = 'met' then null else e.at end
       from unnest($1::text[], $2::text[], $3::timestamptz[]) as e (id, state, at)
       where p.proposal_id = e.id and (p.state = 'open' or (p.state = 'met' and e.state <> 'met'))`,
      [
        textArray(ends.map(({ id }) => id)),
        textArray(ends.map(({ state }) => state)),
        timestampArray(ends.map(({ nowMs }) => nowMs)),
      ],
    );
  await insertProposals(
    tx,
    taken.flatMap(({ move }) => move.proposes ?? []),
  );
}
