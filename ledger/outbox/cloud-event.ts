import type { AuditEvent } from '../../core/audit-event.ts';
import { TRANSITIONS } from '../../core/booking.ts';
import { canonicalBytes, type Json, sha256Hex } from '../../core/canonical.ts';
import { formatRfc3339 } from '../../core/rfc3339.ts';
import type { NewMessage } from '../../platform/event-log.ts';
import type { OutboxMessage } from './outbox.ts';
import type { SequencedEvent } from './trail.ts';

/**
 * What is published, as messages of the event log: CloudEvents 1.0 in structured mode, with the sequence and distributed-tracing extensions.
 * An event is the same bytes at every repeat; (source, id) tells one from another.
 */

export const ALLOCATIONS_TOPIC = 'merit.allocations';
export const AUDIT_TOPIC = 'merit.audit';

const CONTENT_TYPE = 'application/cloudevents+json; charset=UTF-8';
const BOOKING = 'booking/';
const TYPE = 'booking.';
/** Hex digits of a W3C parent id. */
const PARENT_ID = 16;

interface Event {
  readonly topic: string;
  readonly tenant: string;
  readonly id: string;
  readonly type: string;
  readonly subject: string;
  /** RFC 3339. */
  readonly time: string;
  readonly trace: string | undefined;
  /** Rises with each event of the topic and subject. */
  readonly sequence: string;
  readonly data: Json;
}

/** `/merit/<installation>/<tenant>/<what>`. */
function messageOf(installation: string, event: Event): NewMessage {
  const { topic, tenant, id, type, subject, trace, sequence, data } = event;
  const traceparent = trace === undefined ? undefined : `00-${trace}-${sha256Hex(id).slice(0, PARENT_ID)}-01`;
  const value = canonicalBytes({
    specversion: '1.0',
    id,
    source: `/merit/${installation}/${tenant}/${topic.slice(topic.lastIndexOf('.') + 1)}`,
    type: `merit.${type}`,
    subject,
    time: event.time,
    datacontenttype: 'application/json',
    tenant,
    sequence,
    ...(traceparent === undefined ? {} : { traceparent }),
    data,
  });
  const headers = { 'content-type': CONTENT_TYPE, ...(traceparent === undefined ? {} : { traceparent }) };
  return { tenant, topic, key: subject, value, headers };
}

/** A fact of the outbox; its body names its `type` and `trace`. */
export function factMessage(installation: string, fact: OutboxMessage): NewMessage {
  const { type, trace, ...data } = fact.body as { readonly [key: string]: Json };
  return messageOf(installation, {
    topic: fact.topic,
    tenant: fact.tenant,
    id: String(fact.id),
    type: String(type),
    subject: `suite/${fact.key}`,
    time: formatRfc3339(fact.createdAtMs),
    trace: typeof trace === 'string' ? trace : undefined,
    sequence: digits(fact.id),
    data,
  });
}

/** An audit event as it is; one of a booking also as what became of the allocation. */
export function eventMessages(installation: string, { event, seq }: SequencedEvent): readonly NewMessage[] {
  const common = {
    tenant: event.tenant,
    id: event.id,
    type: event.type,
    subject: event.subject,
    time: event.at,
    trace: event.trace,
    sequence: digits(seq),
  };
  const audit = messageOf(installation, { ...common, topic: AUDIT_TOPIC, data: { ...event, seq: Number(seq) } });
  if (!event.subject.startsWith(BOOKING) || !event.type.startsWith(TYPE)) return [audit];
  const data = { ...allocationOf(event), at: event.at, actor: event.actor, details: event.data };
  return [audit, messageOf(installation, { ...common, topic: ALLOCATIONS_TOPIC, data })];
}

/** `state`: what it is in now, where the event is a transition; null: something else happened to it. */
function allocationOf(event: AuditEvent): {
  readonly allocation: string;
  readonly n: number;
  readonly state: string | null;
} {
  const told = event.type.slice(TYPE.length);
  const state = told === 'created' ? 'waiting' : Object.hasOwn(TRANSITIONS, told) ? told : null;
  return { allocation: event.subject.slice(BOOKING.length), n: event.n, state };
}

/** As texts that sort as the numbers do (CloudEvents' sequence extension compares texts). */
function digits(n: bigint): string {
  return n.toString().padStart(SEQUENCE_DIGITS, '0');
}

const SEQUENCE_DIGITS = 19;
