import { type StateName, TRANSITIONS } from '../../core/booking.ts';
import { contentHash } from '../../core/canonical.ts';
import { attemptKey, isBookingId } from '../../core/ids.ts';
import type { Findings } from './findings.ts';
import { isCount, isHex64, isObject } from './lines.ts';
import { type Receipt, type ReceiptEvent, stateOf } from './receipt-parts.ts';

/** Plays the booking's events again: the transitions of core/booking and no others, and what each must say. */
export function checkStory(receipt: Receipt, findings: Findings): void {
  const [created] = receipt.story;
  if (created === undefined) {
    findings.tampered(0, 'events', 'have none of the booking itself');
    return;
  }
  if (!isBookingId(receipt.booking)) findings.tampered(1, 'booking', 'is not a booking id');
  checkCreated(receipt, created, findings);
  let state: StateName | undefined;
  let attempt = 1;
  let outcome: string | undefined;
  let provider: string | undefined;
  const logs = new Set<number>();
  for (const event of receipt.story) {
    const tell = (field: string, problem: string) =>
      findings.tampered(event.line, `event.${field}`, problem, event.seq);
    if (event.trace !== created.trace) tell('trace', 'is not the booking’s');
    const next = stateOf(event.type);
    if (event.type === 'log.ended') {
      checkLog(event, state, attempt, tell);
      if (logs.has(attempt)) tell('type', 'ends a log that has ended');
      logs.add(attempt);
    }
    if (next === undefined) continue;
    if (state === undefined ? event.type !== 'booking.created' : !TRANSITIONS[state].includes(next)) {
      tell('type', `is no transition from ${state ?? 'nothing'}`);
    }
    if (event.type !== 'booking.created') attempt = checkAttempt(state, attempt, event, tell);
    switch (next) {
      case 'reserved':
        provider = isObject(event.data.placement) ? String(event.data.placement.provider) : undefined;
        if (provider === undefined) tell('data.placement', 'is missing');
        break;
      case 'requesting':
        if (isBookingId(receipt.booking) && event.data.key !== attemptKey(receipt.booking, attempt)) {
          tell('data.key', 'is not the key of this attempt');
        }
        break;
      case 'confirming':
        if (!isObject(event.data.handle) || event.data.handle.provider !== provider) {
          tell('data.handle', 'is not of the provider that was booked');
        }
        break;
      case 'draining':
      case 'releasing':
        outcome = typeof event.data.outcome === 'string' ? event.data.outcome : undefined;
        if (outcome === undefined) tell('data.outcome', 'is missing');
        break;
      default:
        if (state === 'releasing' && next !== (outcome === 'retry' ? 'waiting' : outcome)) {
          tell('type', `does not fit the outcome ${outcome}`);
        }
    }
    state = next;
  }
}

const LOG_ENDS: readonly unknown[] = ['complete', 'truncated', 'lost'];
const LOGGING: readonly (StateName | undefined)[] = ['applied', 'draining', 'releasing'];

/** A log ends while its attempt runs or is given back; all of it has a hash, unless it could not be read back. */
function checkLog(
  { data }: ReceiptEvent,
  state: StateName | undefined,
  attempt: number,
  tell: (field: string, problem: string) => void,
): void {
  if (!LOGGING.includes(state)) tell('type', `ends a log of what is ${state ?? 'nothing'}`);
  if (data.attempt !== attempt) tell('data.attempt', `is not ${attempt}`);
  if (!LOG_ENDS.includes(data.ended)) tell('data.ended', 'is no end of a log');
  if (typeof data.bytes !== 'string' || !/^(0|[1-9][0-9]{0,14})$/.test(data.bytes)) tell('data.bytes', 'is no count');
  if (!isHex64(data.sha256) && (data.sha256 !== null || data.ended === 'complete'))
    tell('data.sha256', 'is not the hash of a log');
}

/** Attempts count from 1 and grow by one when a released booking waits again; that event may still carry the old number. */
function checkAttempt(
  state: StateName | undefined,
  attempt: number,
  event: ReceiptEvent,
  tell: (field: string, problem: string) => void,
): number {
  const told = event.data.attempt;
  if (state === 'releasing' && event.type === 'booking.waiting') {
    if (told !== attempt && told !== attempt + 1) tell('data.attempt', `is not ${attempt}`);
    return attempt + 1;
  }
  if (told !== attempt) tell('data.attempt', `is not ${attempt}`);
  return attempt;
}

function checkCreated(receipt: Receipt, created: ReceiptEvent, findings: Findings): void {
  const tell = (field: string, problem: string) =>
    findings.tampered(created.line, `event.data.${field}`, problem, created.seq);
  const { spec, specHash, codeHash, division, requester } = created.data;
  if (!isObject(spec)) {
    tell('spec', 'is missing');
    return;
  }
  if (contentHash(spec) !== specHash) tell('specHash', 'is not the hash of the spec');
  if (spec.name !== receipt.job) findings.tampered(1, 'job', 'is not the name in the spec');
  if (spec.division !== division) tell('division', 'is not the spec’s');
  if (typeof requester !== 'string' || requester === '') tell('requester', 'is missing');
  if (codeHash !== null && !isHex64(codeHash)) tell('codeHash', 'is neither null nor a hash');
  const code = typeof spec.workdir === 'string' ? spec.workdir : null;
  if (code !== (codeHash === null ? null : `code:${String(codeHash)}`))
    tell('codeHash', 'is not the code the spec names');
  if (spec.leaseMs !== undefined && !isCount(spec.leaseMs)) tell('spec.leaseMs', 'is not a time');
}
