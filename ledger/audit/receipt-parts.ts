import { type StateName, TRANSITIONS } from '../../core/booking.ts';
import { canonicalText, type Json } from '../../core/canonical.ts';
import type { JsonObject } from './lines.ts';

/**
 * The receipt of one job: everything that was recorded about it, and the proof that it was.
 *
 *   {"type":"header","format":"merit-receipt/1","tenant":…,"booking":…,"job":…,"treeSize":N,"events":…,"evidence":…,"transfers":…}
 *   {"type":"checkpoint","note":…}
 *   {"type":"evidence","hash":…,"body":{…}}         by hash; `base64` instead of `body` where it is not canonical JSON
 *   {"type":"transfer","transfer":{…}}              by id
 *   {"type":"event","seq":…,"event":{…},"proof":[…]} by seq; the booking's events and those that caused it
 */
export const RECEIPT_FORMAT = 'merit-receipt/1';

export interface ReceiptEvent {
  readonly line: number;
  readonly seq: number;
  readonly type: string;
  readonly id: string;
  readonly subject: string;
  readonly tenant: string;
  readonly n: number;
  readonly at: string;
  readonly trace: string;
  readonly data: JsonObject;
}

export interface ReceiptEvidence {
  readonly line: number;
  /** undefined: not canonical JSON. */
  readonly body: Json | undefined;
  readonly bytes: Uint8Array;
}

export interface ReceiptTransfer {
  readonly line: number;
  readonly transfer: JsonObject;
}

export interface Receipt {
  readonly tenant: string;
  readonly booking: string;
  readonly job: string;
  /** The booking's own events, by n. */
  readonly story: readonly ReceiptEvent[];
  /** All events, by seq. */
  readonly events: readonly ReceiptEvent[];
  readonly evidence: ReadonlyMap<string, ReceiptEvidence>;
  readonly transfers: readonly ReceiptTransfer[];
}

/** `body` where the bytes are canonical JSON, else `base64`. */
export function evidenceMember(bytes: Uint8Array): JsonObject {
  try {
    const text = Buffer.from(bytes).toString('utf8');
    const value = JSON.parse(text) as Json;
    if (canonicalText(value) === text && Buffer.from(text, 'utf8').equals(bytes)) return { body: value };
  } catch {
    // Told below.
  }
  return { base64: Buffer.from(bytes).toString('base64') };
}

/** Ids of the events that led to this one. */
export function causesOf(data: JsonObject): readonly string[] {
  const { causes } = data;
  return Array.isArray(causes) ? (causes as readonly Json[]).filter((id) => typeof id === 'string') : [];
}

/** The state a booking event enters; undefined: it is no transition. */
export function stateOf(type: string): StateName | undefined {
  if (type === 'booking.created') return 'waiting';
  const name = type.startsWith('booking.') ? type.slice('booking.'.length) : '';
  return Object.hasOwn(TRANSITIONS, name) ? (name as StateName) : undefined;
}
