import { type ApprovalAction, type Statement, statementHash } from '../../core/approval.ts';
import { canonicalText, type Json } from '../../core/canonical.ts';
import type { SigningPolicy } from '../../core/signing-policy.ts';
import type { Tx } from '../../platform/postgres.ts';
import { type NewProposal, type Proposal, type ProposalState, subjectOfProposal } from './proposal.ts';

interface ProposalRow {
  readonly proposal_id: string;
  readonly tenant: string;
  readonly action: ApprovalAction;
  readonly booking_id: string | null;
  readonly requester: string;
  readonly askers: readonly string[];
  readonly reason: string | null;
  readonly asked: number;
  readonly statement: Statement;
  readonly statement_hash: string;
  readonly content: Json;
  readonly state: ProposalState;
  readonly created_at: Date;
  readonly expires_at: Date;
  readonly ended_at: Date | null;
}

const COLUMNS = `proposal_id, tenant, action, booking_id, requester, askers, reason, asked, statement, statement_hash, content, state,
  created_at, expires_at, ended_at`;

function proposalFrom(row: ProposalRow): Proposal {
  return {
    id: row.proposal_id,
    tenant: row.tenant,
    action: row.action,
    bookingId: row.booking_id,
    requester: row.requester,
    askers: row.askers,
    reason: row.reason,
    asked: Number(row.asked),
    statement: row.statement,
    statementHash: row.statement_hash,
    content: row.content,
    state: row.state,
    createdAtMs: row.created_at.getTime(),
    expiresAtMs: row.expires_at.getTime(),
    endedAtMs: row.ended_at?.getTime() ?? null,
  };
}

/** In the transaction that makes it needed. Another one of its subject and action that lives still is a defect of the caller. */
export async function insertProposals(tx: Tx, proposals: readonly NewProposal[]): Promise<void> {
  for (const one of proposals)
    await tx.execute(
      `insert into proposals (proposal_id, tenant, action, subject, booking_id, requester, askers, reason, asked, statement, statement_hash,
         content, created_at, expires_at)
       values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`,
      [
        one.id,
        one.tenant,
        one.action,
        subjectOfProposal(one),
        one.bookingId,
        one.requester,
        one.askers,
        one.reason,
        one.asked,
        canonicalText(one.statement),
        statementHash(one.statement),
        canonicalText(one.content),
        new Date(one.createdAtMs),
        new Date(one.expiresAtMs),
      ],
    );
}

export async function loadProposal(tx: Tx, id: string, lock: 'lock' | 'read' = 'read'): Promise<Proposal | undefined> {
  const [row] = await tx.query<ProposalRow>(
    `select ${COLUMNS} from proposals where proposal_id = $1${lock === 'lock' ? ' for update' : ''}`,
    [id],
  );
  return row === undefined ? undefined : proposalFrom(row);
}

/** The one of the same subject and action that lives: open, or met and not used yet. */
export async function liveProposal(
  tx: Tx,
  of: Pick<NewProposal, 'tenant' | 'bookingId' | 'action'>,
): Promise<Proposal | undefined> {
  const [row] = await tx.query<ProposalRow>(
    `select ${COLUMNS} from proposals where tenant = $1 and subject = $2 and action = $3 and state in ('open', 'met') for update`,
    [of.tenant, subjectOfProposal(of), of.action],
  );
  return row === undefined ? undefined : proposalFrom(row);
}

export interface ProposalFilter {
  readonly state?: string;
  readonly action?: string;
  readonly booking?: string;
}

/** Newest first, after the one named. */
export async function proposalRows(
  tx: Tx,
  tenant: string,
  filter: ProposalFilter,
  page: { readonly limit: number; readonly after: { readonly atMs: number; readonly id: string } | undefined },
): Promise<readonly Proposal[]> {
  const rows = await tx.query<ProposalRow>(
    `select ${COLUMNS} from proposals
     where tenant = $1 and ($2::text is null or state = $2) and ($3::text is null or action = $3)
       and ($4::text is null or booking_id = $4)
       and ($5::timestamptz is null or (created_at, proposal_id) < ($5::timestamptz, $6))
     order by created_at desc, proposal_id desc limit $7`,
    [
      tenant,
      filter.state ?? null,
      filter.action ?? null,
      filter.booking ?? null,
      page.after === undefined ? null : new Date(page.after.atMs),
      page.after?.id ?? null,
      page.limit,
    ],
  );
  return rows.map(proposalFrom);
}

export async function endProposal(
  tx: Tx,
  id: string,
  state: Exclude<ProposalState, 'open' | 'met'>,
  nowMs: number,
): Promise<void> {
  await tx.execute('update proposals set state = $2, ended_at = $3 where proposal_id = $1', [
    id,
    state,
    new Date(nowMs),
  ]);
}

export interface Approval {
  readonly person: string;
  readonly keyId: string;
  readonly signature: Uint8Array;
  readonly atMs: number;
}

/** By proposal, in the order in which they were given. */
export async function approvalsOf(tx: Tx, ids: readonly string[]): Promise<ReadonlyMap<string, readonly Approval[]>> {
  const rows = await tx.query<{
    proposal_id: string;
    person: string;
    key_id: string;
    signature: Buffer;
    signed_at: Date;
  }>(
    `select proposal_id, person, key_id, signature, signed_at from approvals where proposal_id = any($1::text[])
     order by signed_at, person collate "C"`,
    [ids],
  );
  const found = new Map<string, Approval[]>();
  for (const row of rows) {
    const one = { person: row.person, keyId: row.key_id, signature: row.signature, atMs: row.signed_at.getTime() };
    const all = found.get(row.proposal_id);
    if (all === undefined) found.set(row.proposal_id, [one]);
    else all.push(one);
  }
  return found;
}

/** False: the person, or the key, has signed it before. */
export async function insertApproval(tx: Tx, proposal: Proposal, approval: Approval, actor: string): Promise<boolean> {
  const inserted = await tx.execute(
    `insert into approvals (proposal_id, tenant, person, key_id, signature, signed_at, actor) values ($1, $2, $3, $4, $5, $6, $7)
     on conflict do nothing`,
    [proposal.id, proposal.tenant, approval.person, approval.keyId, approval.signature, new Date(approval.atMs), actor],
  );
  return inserted > 0;
}

/** The signing policy that stands, with its version and the audit event that told of it. */
export interface StandingPolicy {
  readonly policy: SigningPolicy;
  readonly version: bigint;
  readonly eventId: string;
}

export async function standingPolicy(tx: Tx, tenant: string): Promise<StandingPolicy | undefined> {
  const [row] = await tx.query<{ file: SigningPolicy; version: bigint; event_id: string }>(
    `select d.file, d.version, e.event_id from quota_documents d,
       lateral (select event_id from audit_events where tenant = d.tenant and subject = 'signing-policy/default'
                and type in ('signing_policy.created', 'signing_policy.changed') order by subject_seq desc limit 1) e
     where d.tenant = $1 and d.kind = 'SigningPolicy'`,
    [tenant],
  );
  return row === undefined ? undefined : { policy: row.file, version: row.version, eventId: row.event_id };
}

/**
 * Ends what nobody signed in time, and revokes of what has ended anyway. Those of bookings that wait are ended with their booking. How many.
 */
export async function expireProposals(tx: Tx, nowMs: number): Promise<number> {
  return tx.execute(
    `update proposals p set state = case when p.expires_at <= $1 then 'expired' else 'void' end, ended_at = $1
     where p.state = 'open' and p.proposal_id in (
       select p.proposal_id from proposals p left join bookings b using (booking_id)
       where p.state = 'open' and p.action <> 'allocation.apply' and (p.expires_at <= $1 or b.ended) limit ${MAX_EXPIRED_PROPOSALS})`,
    [new Date(nowMs)],
  );
}

const MAX_EXPIRED_PROPOSALS = 1_000;
