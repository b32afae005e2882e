import type { AuditEvent } from '../../core/audit-event.ts';
import type { Json } from '../../core/canonical.ts';
import type { HumanAction } from '../../peers/kernel/wire.ts';
import { reasonText, recordId } from './notice-of.ts';

/** How actors that are people are named: by their identity provider, and whoever holds the installation's token. Services are SPIFFE ids. */
const PEOPLE = ['oidc:', 'token:'];

/** What a person did, as Kernel is told of it; undefined: no person did it. Pure. */
export function humanActionOf(event: AuditEvent): HumanAction | undefined {
  const { id, tenant, actor, type, subject, n, at, trace, data } = event;
  if (!PEOPLE.some((prefix) => actor.startsWith(prefix))) return undefined;
  return {
    format: 'merit-human-action/1',
    id: recordId(event),
    event: id,
    tenant,
    person: actor,
    action: type,
    subject,
    n,
    at,
    proposal: textOf(data.proposal),
    signer: textOf(data.person),
    reason: reasonText(data) ?? textOf(data.reason)?.slice(0, 1000) ?? null,
    trace,
  };
}

function textOf(value: Json | undefined): string | null {
  return typeof value === 'string' ? value : null;
}
