import type { AuditEvent } from '../../core/audit-event.ts';
import { TRANSITIONS } from '../../core/booking.ts';
import { contentHash, type Json } from '../../core/canonical.ts';
import type { JobSpec } from '../../core/job.ts';
import { NOTICE_STATES, type Notice } from '../../peers/agent-manager/wire.ts';
import { moneyOf } from '../../peers/money.ts';
import type { Explanation } from '../../peers/reasoning-graph/wire.ts';

/** What audit events are to the peers that are told of them. Pure. */

const BOOKING = 'booking/';
const SUITE = 'suite/';

const TOLD: ReadonlySet<string> = new Set(NOTICE_STATES);

/**
 * By what a peer knows that it was told of an event before. Its own id says its place in its story, which another event takes in a trail that was put back to an
 * earlier time: the peer would refuse that as another thing under a known id, and never hear of it.
 */
export function recordId(event: AuditEvent): string {
  return contentHash(event as unknown as Json);
}

/** The booking that an event tells Agent Manager of; undefined: none. */
export function noticedBooking({ subject, type }: AuditEvent): string | undefined {
  const isTold = subject.startsWith(BOOKING) && type.startsWith('booking.') && TOLD.has(type.slice('booking.'.length));
  return isTold ? subject.slice(BOOKING.length) : undefined;
}

export function noticeOf(event: AuditEvent, allocation: string, division: string, spec: JobSpec): Notice {
  const { attempt } = event.data;
  const { money, model } = spec;
  return {
    format: 'merit-notice/1',
    id: recordId(event),
    event: event.id,
    tenant: event.tenant,
    division,
    allocation,
    attempt: typeof attempt === 'number' ? attempt : 1,
    state: event.type.slice('booking.'.length) as Notice['state'],
    at: event.at,
    agent: money?.agent ?? null,
    model,
    money: money === undefined ? null : moneyOf(BigInt(money.cents), money.currency),
    reason: reasonText(event.data) ?? null,
  };
}

/** undefined: nothing that Reasoning Graph is told of. */
export function explanationOf(event: AuditEvent): Explanation | undefined {
  const { subject, type, data } = event;
  const isBooking = subject.startsWith(BOOKING) && type.startsWith('booking.');
  const isDecision = subject.startsWith(SUITE) && type.startsWith('decision.');
  if (!isBooking && !isDecision) return undefined;
  const id = subject.slice(isBooking ? BOOKING.length : SUITE.length);
  return {
    format: 'merit-explanation/1',
    id: recordId(event),
    event: event.id,
    tenant: event.tenant,
    about: { kind: isBooking ? 'allocation' : 'promotion', id, n: event.n },
    what: type,
    text: (isBooking ? allocationText(id, type, data) : decisionText(id, type, data)).slice(0, 2000),
    at: event.at,
    actor: event.actor,
    causes: texts(data.causes),
    evidence: texts(data.evidence),
    trace: event.trace,
  };
}

type Data = AuditEvent['data'];

function allocationText(id: string, type: string, data: Data): string {
  const step = type.slice('booking.'.length);
  const told = step.replaceAll('_', ' ');
  const isState = Object.hasOwn(TRANSITIONS, step) || step === 'created';
  const why = reasonText(data);
  return `allocation ${id}${isState ? ' is ' : ': '}${told}${why === undefined ? '' : `: ${why}`}`;
}

function decisionText(suite: string, type: string, { model, incumbentBefore, tick, decision }: Data): string {
  if (type === 'decision.review')
    return `decision ${String(decision)} on ${String(model)} of suite ${suite} stands, and late data would have made it another`;
  const before = typeof incumbentBefore === 'string' ? `, where ${incumbentBefore} was` : '';
  const verb = type === 'decision.promote' ? 'took the seat' : 'left the seat';
  return `${String(model)} ${verb} of suite ${suite}${before}, by what was reported up to ${String(tick)}`;
}

export function reasonText({ reason }: Data): string | undefined {
  if (typeof reason !== 'object' || reason === null || Array.isArray(reason)) return undefined;
  const { text } = reason as { readonly [key: string]: Json };
  return typeof text === 'string' ? text.slice(0, 1000) : undefined;
}

function texts(list: Json | undefined): string[] {
  return Array.isArray(list) ? list.filter((one): one is string => typeof one === 'string').slice(0, 64) : [];
}
