import { assert } from './assert.ts';
import {
  advanceExtensions,
  type Carried,
  EXTENSION_EVENTS,
  type Extended,
  type ExtensionEvent,
  extendedMs,
  isExtensionEvent,
  openExtension,
} from './extension.ts';

/**
 * A booking (its public noun: allocation) and the only transitions it has. `advance` is the whole life of it: pure, no time,
 * no ids of its own. Money is in cents, capacity in milli-units.
 */

/** Where it ends up; stored on entry to `releasing`, so that a restart knows what the release is for. */
export type Outcome = 'released' | 'rejected' | 'failed' | 'expired' | 'cancelled' | 'revoked' | 'retry';

/** What made it wait, fail or end: stable code, human text, and the mend or next step. */
export interface Reason {
  readonly code: string;
  readonly text: string;
  readonly mend: string;
  /** The booking that it has to make room for. */
  readonly for?: string;
}

/** Where an admitted attempt goes. */
export interface Placement {
  readonly pool: string;
  readonly flavour: string;
  readonly provider: string;
  /** Of all its nodes together. */
  readonly gpuMilli: string;
  readonly cpuMilli: string;
  /** Absent: one. */
  readonly nodes?: number;
  /** The machines they are on, where the flavour's are known. */
  readonly machines?: readonly { readonly node: string; readonly replicas: number }[];
  /** Held for the whole lease at the flavour's price. */
  readonly holdCents: string;
  readonly currency: string;
  readonly centsPerUnitHour: string;
}

export interface PolicyAnswer {
  readonly decisionId: string;
  readonly policyVersion: string;
  readonly requestHash: string;
  /** How many distinct people must sign; 0: none. */
  readonly signatures: number;
  /** What they were asked to sign. Absent: nobody has to. */
  readonly proposal?: SignedProposal;
}

/** A proposal as the booking that waits for it, or rests on it, remembers it. */
export interface SignedProposal {
  readonly id: string;
  /** Of the placement that was shown: another one needs signatures of its own. */
  readonly contentHash: string;
  readonly expiresAtMs: number;
}

/** A place whose provider refused an attempt: it is not tried again before `untilMs`, others are. */
export interface PassedOver {
  /** `pool/flavour`. */
  readonly place: string;
  readonly untilMs: number;
  readonly code: string;
  /** Refusals there in a row. */
  readonly times: number;
}

interface Live extends Carried {
  readonly attempt: number;
  /** Newest last. Absent: no provider refused it. */
  readonly passedOver?: readonly PassedOver[];
  /** Ids of what it made room for, newest last: it takes none of it back. Absent: it made room for nobody. */
  readonly leftFor?: readonly string[];
}

/** The newest of them that are remembered. */
const MAX_LEFT_FOR = 16;

/** The newest places that are remembered. */
const MAX_PASSED_OVER = 16;

/** What a booking remembers from attempt to attempt. */
function memoryOf({ leftFor, passedOver, carriedMs }: Live): Pick<Live, 'leftFor' | 'passedOver' | 'carriedMs'> {
  return {
    ...(leftFor === undefined ? {} : { leftFor }),
    ...(passedOver === undefined ? {} : { passedOver }),
    ...(carriedMs === undefined ? {} : { carriedMs }),
  };
}

interface Placed extends Live {
  readonly placement: Placement;
  readonly policy: PolicyAnswer;
}

/** What an extension adds to its price, `placement.holdCents` counts from when it is granted. */
type Leased = Placed & Extended;

export type BookingState =
  | (Live & {
      readonly state: 'waiting';
      readonly reasons: readonly Reason[];
      readonly notBeforeMs: number;
      readonly policy?: PolicyAnswer;
      /** Somebody keeps it back: it is not planned until they let it go. */
      readonly held?: Hold;
    })
  | (Live & { readonly state: 'awaiting_signatures'; readonly policy: PolicyAnswer })
  | (Placed & { readonly state: 'reserved' })
  | (Placed & { readonly state: 'requesting'; readonly holdId: string; readonly unknown: boolean })
  | (Placed & { readonly state: 'confirming'; readonly holdId: string; readonly handle: HandleRecord })
  | (Leased & {
      readonly state: 'applied';
      readonly holdId: string;
      readonly handle: HandleRecord;
      readonly appliedAtMs: number;
      readonly leaseEndsAtMs: number;
    })
  | (Leased & {
      readonly state: 'draining';
      readonly holdId: string;
      readonly handle: HandleRecord;
      readonly appliedAtMs: number;
      readonly deadlineMs: number;
      readonly outcome: Outcome;
      readonly reason: Reason;
    })
  | (Leased & {
      readonly state: 'releasing';
      readonly holdId: string | null;
      readonly handle: HandleRecord | null;
      /** null: it was never applied, nothing is billed. */
      readonly appliedAtMs: number | null;
      readonly endedAtMs: number;
      /** Of money alone: what whoever had it says was spent. Absent: nobody said, and all of it counts as spent. */
      readonly spentCents?: string;
      readonly outcome: Outcome;
      readonly reason: Reason;
    })
  | (Live & {
      readonly state: 'released' | 'rejected' | 'infeasible' | 'failed' | 'expired' | 'cancelled' | 'revoked';
      readonly reason: Reason;
    });

export interface Hold {
  readonly by: string;
  readonly atMs: number;
}

export type StateName = BookingState['state'];

export interface HandleRecord {
  readonly provider: string;
  readonly id: string;
  readonly uid?: string;
}

export type BookingEvent =
  | { readonly type: 'signatures_required'; readonly policy: PolicyAnswer }
  | { readonly type: 'quorum_met' }
  | { readonly type: 'hold'; readonly hold: Hold }
  | { readonly type: 'let_go' }
  | { readonly type: 'reserve'; readonly placement: Placement; readonly policy: PolicyAnswer }
  | { readonly type: 'hold_granted'; readonly holdId: string }
  | { readonly type: 'request_unknown' }
  | { readonly type: 'accepted'; readonly handle: HandleRecord }
  /** `policy` is the answer re-checked at commit: for the same request, of the version in force. */
  | { readonly type: 'apply'; readonly atMs: number; readonly leaseEndsAtMs: number; readonly policy: PolicyAnswer }
  | ExtensionEvent
  | { readonly type: 'drain'; readonly deadlineMs: number; readonly outcome: Outcome; readonly reason: Reason }
  /** `atMs` ends what is billed. `spentCents`: of money alone. */
  | {
      readonly type: 'release';
      readonly outcome: Outcome;
      readonly reason: Reason;
      readonly atMs: number;
      readonly spentCents?: string;
    }
  /** `passOver`: the place that refused it; it goes on at once wherever else it may. */
  | { readonly type: 'released'; readonly notBeforeMs: number; readonly passOver?: PassedOver }
  | { readonly type: 'reject' | 'declare_infeasible' | 'expire' | 'cancel'; readonly reason: Reason };

const ENDS: ReadonlySet<StateName> = new Set([
  'released',
  'rejected',
  'infeasible',
  'failed',
  'expired',
  'cancelled',
  'revoked',
]);

export function isEnded(state: StateName): boolean {
  return ENDS.has(state);
}

/** States whose quota is held by the ledger. */
export function holdsQuota(state: StateName): boolean {
  return (
    state === 'reserved' ||
    state === 'requesting' ||
    state === 'confirming' ||
    state === 'applied' ||
    state === 'draining' ||
    state === 'releasing'
  );
}

/** Every legal edge, `advance` makes no other. `waiting → waiting` never happens: reasons are not state. */
export const TRANSITIONS: Readonly<Record<StateName, readonly StateName[]>> = {
  waiting: ['awaiting_signatures', 'reserved', 'rejected', 'infeasible', 'expired', 'cancelled'],
  awaiting_signatures: ['waiting', 'rejected', 'expired', 'cancelled'],
  reserved: ['requesting', 'releasing'],
  requesting: ['confirming', 'releasing'],
  confirming: ['applied', 'releasing'],
  applied: ['draining', 'releasing'],
  draining: ['releasing'],
  releasing: ['released', 'rejected', 'failed', 'expired', 'cancelled', 'revoked', 'waiting'],
  released: [],
  rejected: [],
  infeasible: [],
  failed: [],
  expired: [],
  cancelled: [],
  revoked: [],
};

export function newBooking(): BookingState {
  return { state: 'waiting', attempt: 1, reasons: [], notBeforeMs: 0 };
}

/** What the audit trail calls it: the state that it leads to, or what came of an extension, which leaves the state as it is. */
export function eventName(event: BookingEvent, next: BookingState): string {
  return isExtensionEvent(event) ? EXTENSION_EVENTS[event.type] : `booking.${next.state}`;
}

/**
 * The next state, or undefined where the event is not legal in this state: the caller's knowledge is stale, and it looks
 * again. `request_unknown`, `hold` and `let_go` set a flag and are no transitions, nor are the steps of an extension, which have a version and an
 * event each all the same.
 */
export function advance(current: BookingState, event: BookingEvent): BookingState | undefined {
  const next = step(current, event);
  if (next !== undefined && next.state !== current.state) {
    assert(TRANSITIONS[current.state].includes(next.state), `${current.state} → ${next.state} is not a transition`);
  }
  return next;
}

function step(current: BookingState, event: BookingEvent): BookingState | undefined {
  switch (current.state) {
    case 'waiting':
      return fromWaiting(current, event);
    case 'awaiting_signatures':
      if (event.type === 'quorum_met') {
        const { attempt, policy } = current;
        return { state: 'waiting', attempt, reasons: [], notBeforeMs: 0, policy, ...memoryOf(current) };
      }
      return fromUnplaced(current.attempt, event);
    case 'reserved':
      if (event.type === 'hold_granted')
        return { ...current, state: 'requesting', holdId: event.holdId, unknown: false };
      if (event.type === 'release') return releasing(current, event, { holdId: null, handle: null, appliedAtMs: null });
      return undefined;
    case 'requesting':
      if (event.type === 'request_unknown') return { ...current, unknown: true };
      if (event.type === 'accepted') {
        const { unknown: _, ...rest } = current;
        return { ...rest, state: 'confirming', handle: event.handle };
      }
      if (event.type === 'release')
        return releasing(current, event, { holdId: current.holdId, handle: null, appliedAtMs: null });
      return undefined;
    case 'confirming':
      if (event.type === 'apply') {
        if (event.policy.requestHash !== current.policy.requestHash) return undefined;
        return {
          ...current,
          state: 'applied',
          policy: event.policy,
          appliedAtMs: event.atMs,
          leaseEndsAtMs: event.leaseEndsAtMs,
        };
      }
      if (event.type === 'release')
        return releasing(current, event, { holdId: current.holdId, handle: current.handle, appliedAtMs: null });
      return undefined;
    case 'applied':
      return fromApplied(current, event);
    case 'draining':
      if (event.type !== 'release') return undefined;
      return releasing(current, event, current);
    case 'releasing':
      return fromReleasing(current, event);
    case 'released':
    case 'rejected':
    case 'infeasible':
    case 'failed':
    case 'expired':
    case 'cancelled':
    case 'revoked':
      return undefined;
  }
}

function fromWaiting(
  current: Extract<BookingState, { state: 'waiting' }>,
  event: BookingEvent,
): BookingState | undefined {
  if (event.type === 'hold') return { ...current, held: current.held ?? event.hold };
  if (event.type === 'let_go') {
    const { held: _, ...rest } = current;
    return rest;
  }
  const isPlanned = event.type === 'reserve' || event.type === 'signatures_required';
  if (isPlanned && current.held !== undefined) return undefined;
  if (event.type === 'reserve')
    return {
      state: 'reserved',
      attempt: current.attempt,
      placement: event.placement,
      policy: event.policy,
      ...memoryOf(current),
    };
  if (event.type === 'signatures_required')
    return { state: 'awaiting_signatures', attempt: current.attempt, policy: event.policy, ...memoryOf(current) };
  if (event.type === 'declare_infeasible')
    return { state: 'infeasible', attempt: current.attempt, reason: event.reason };
  return fromUnplaced(current.attempt, event);
}

function fromUnplaced(attempt: number, event: BookingEvent): BookingState | undefined {
  if (event.type === 'reject') return { state: 'rejected', attempt, reason: event.reason };
  if (event.type === 'expire') return { state: 'expired', attempt, reason: event.reason };
  if (event.type === 'cancel') return { state: 'cancelled', attempt, reason: event.reason };
  return undefined;
}

function fromApplied(
  current: Extract<BookingState, { state: 'applied' }>,
  event: BookingEvent,
): BookingState | undefined {
  if (event.type === 'drain') {
    const { leaseEndsAtMs: _, ...rest } = current;
    return { ...rest, state: 'draining', deadlineMs: event.deadlineMs, outcome: event.outcome, reason: event.reason };
  }
  if (event.type === 'release') return releasing(current, event, current);
  return isExtensionEvent(event) ? extended(current, event) : undefined;
}

/** Granted, it is time and money of the lease. */
function extended(
  current: Extract<BookingState, { state: 'applied' }>,
  event: ExtensionEvent,
): BookingState | undefined {
  const extensions = advanceExtensions(current, event);
  if (extensions === undefined) return undefined;
  const open = openExtension(current);
  if (event.type !== 'grant_extension' || open?.state !== 'holding') return { ...current, extensions };
  const holdCents = String(BigInt(current.placement.holdCents) + BigInt(open.holdCents));
  return {
    ...current,
    extensions,
    leaseEndsAtMs: current.leaseEndsAtMs + open.byMs,
    placement: { ...current.placement, holdCents },
  };
}

function releasing(
  from: Leased,
  event: Extract<BookingEvent, { type: 'release' }>,
  held: { readonly holdId: string | null; readonly handle: HandleRecord | null; readonly appliedAtMs: number | null },
): BookingState {
  const { attempt, placement, policy } = from;
  const { holdId, handle, appliedAtMs } = held;
  const { outcome, reason, atMs, spentCents } = event;
  return {
    state: 'releasing',
    attempt,
    placement,
    policy,
    holdId,
    handle,
    appliedAtMs,
    endedAtMs: atMs,
    ...(spentCents === undefined ? {} : { spentCents }),
    outcome,
    reason,
    ...memoryOf(from),
    ...(from.extensions === undefined ? {} : { extensions: from.extensions }),
  };
}

function fromReleasing(
  current: Extract<BookingState, { state: 'releasing' }>,
  event: BookingEvent,
): BookingState | undefined {
  if (event.type !== 'released') return undefined;
  if (current.outcome === 'retry') {
    const asker = current.reason.for;
    const before = (current.leftFor ?? []).filter((id) => id !== asker);
    const leftFor = asker === undefined ? before : [...before, asker].slice(-MAX_LEFT_FOR);
    const { passOver } = event;
    const carriedMs = extendedMs(current);
    const others = (current.passedOver ?? []).filter(({ place }) => place !== passOver?.place);
    const passedOver = passOver === undefined ? others : [...others, passOver].slice(-MAX_PASSED_OVER);
    return {
      state: 'waiting',
      attempt: current.attempt + 1,
      reasons: [current.reason],
      notBeforeMs: event.notBeforeMs,
      ...(leftFor.length === 0 ? {} : { leftFor }),
      ...(passedOver.length === 0 ? {} : { passedOver }),
      ...(carriedMs === 0 ? {} : { carriedMs }),
      // Signatures are used up by an apply only: an attempt that came to none leaves them for the next.
      ...(current.appliedAtMs === null && current.policy.proposal !== undefined ? { policy: current.policy } : {}),
    };
  }
  return { state: current.outcome, attempt: current.attempt, reason: current.reason };
}
