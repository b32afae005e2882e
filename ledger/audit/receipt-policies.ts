import { check } from '../../core/schema.ts';
import { SigningPolicy } from '../../core/signing-policy.ts';
import { auditEventId } from './append.ts';
import type { Findings } from './findings.ts';
import { causesOf, type Receipt, type ReceiptEvent } from './receipt-parts.ts';

/** Each signing policy of a receipt by the id of the event that made it stand. */
export type Policies = ReadonlyMap<string, { readonly policy: SigningPolicy; readonly event: ReceiptEvent }>;

/** There is one a tenant. */
const SUBJECT = 'signing-policy/default';

export function policiesIn(receipt: Receipt, findings: Findings): Policies {
  const found = new Map<string, { readonly policy: SigningPolicy; readonly event: ReceiptEvent }>();
  for (const event of receipt.events) {
    const { type, id, line, seq, subject, data } = event;
    if (type !== 'signing_policy.created' && type !== 'signing_policy.changed') continue;
    const tell = (field: string, problem: string) => findings.tampered(line, `event.${field}`, problem, seq);
    if (subject !== SUBJECT) tell('subject', 'is not the signing policy of the tenant');
    if (type === 'signing_policy.created' && !isRoot(receipt, event))
      tell('data.causes', 'name no removal of the signing policy that stood before this one was declared');
    if (check(SigningPolicy, data.file).length === 0)
      found.set(id, { policy: data.file as unknown as SigningPolicy, event });
    else tell('data.file', 'is no signing policy');
  }
  return found;
}

/**
 * Nobody signs a policy that is declared: it is the first of all, or those in the one before had signed that there be none. Only the event right before says that: an
 * older removal would let whoever writes the trail declare people of their own over those who stand.
 */
function isRoot({ events, tenant }: Receipt, { n, subject, data }: ReceiptEvent): boolean {
  if (n === 1) return true;
  const before = auditEventId(tenant, subject, n - 1);
  const removed = events.find(({ id, type }) => id === before && type === 'signing_policy.removed');
  return removed !== undefined && causesOf(data).includes(before);
}

/** The policy by which an event says that its signatures count: one that stood before it. A policy that is its own cause, or a later one's, would need nobody. */
export function policyOf(event: ReceiptEvent, policies: Policies): SigningPolicy | undefined {
  const named = causesOf(event.data).map((id) => policies.get(id));
  return named.find((one) => one !== undefined && one.event.seq < event.seq)?.policy;
}
