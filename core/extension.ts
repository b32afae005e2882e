import type { PolicyAnswer, Reason } from './booking.ts';

/**
 * More lease time of an attempt that runs. An attempt has a list of them, numbered from 1, of which the last may be on its way: asked for →
 * holding (its price is pending in the ledger, Finance and the provider are asked) → granted; or refused, from either.
 */
export type Extension = ExtensionAsk &
  (
    | { readonly state: 'asked' }
    | { readonly state: 'holding'; readonly holdCents: string; readonly policy: PolicyAnswer }
    | { readonly state: 'granted'; readonly holdCents: string }
    | { readonly state: 'refused'; readonly reason: Reason }
  );

export interface ExtensionAsk {
  readonly byMs: number;
  readonly actor: string;
  readonly askedAtMs: number;
}

export interface Extended {
  /** Absent: none was asked for. */
  readonly extensions?: readonly Extension[];
}

/** From attempt to attempt a booking keeps what its lease was made longer by, as Slurm keeps a changed TimeLimit when it requeues a job. */
export interface Carried {
  /** Granted to earlier attempts. Absent: nothing was. */
  readonly carriedMs?: number;
}

/** Of one attempt, refused ones too. */
export const MAX_EXTENSIONS = 64;

export type OpenExtension = Extract<Extension, { state: 'asked' | 'holding' }> & { readonly n: number };

/** The one that is on its way. */
export function openExtension({ extensions }: Extended): OpenExtension | undefined {
  const last = extensions?.at(-1);
  return last?.state === 'asked' || last?.state === 'holding' ? { ...last, n: extensions?.length ?? 0 } : undefined;
}

export type GrantedExtension = Extract<Extension, { state: 'granted' }> & { readonly n: number };

export function grantedExtensions({ extensions = [] }: Extended): readonly GrantedExtension[] {
  return extensions.flatMap((one, i) => (one.state === 'granted' ? [{ ...one, n: i + 1 }] : []));
}

/** By how much the lease is longer than it was booked. */
export function extendedMs(of: Extended & Carried): number {
  return grantedExtensions(of).reduce((sum, { byMs }) => sum + byMs, of.carriedMs ?? 0);
}

export type ExtensionEvent =
  | { readonly type: 'ask_extension'; readonly ask: ExtensionAsk }
  | { readonly type: 'hold_extension'; readonly holdCents: string; readonly policy: PolicyAnswer }
  | { readonly type: 'grant_extension' }
  | { readonly type: 'refuse_extension'; readonly reason: Reason };

/** What the audit trail calls them. */
export const EXTENSION_EVENTS: Readonly<Record<ExtensionEvent['type'], string>> = {
  ask_extension: 'booking.extension_asked',
  hold_extension: 'booking.extension_held',
  grant_extension: 'booking.extended',
  refuse_extension: 'booking.extension_refused',
};

export function isExtensionEvent(event: { readonly type: string }): event is ExtensionEvent {
  return Object.hasOwn(EXTENSION_EVENTS, event.type);
}

/** The list after an event; undefined: the event is not legal now. */
export function advanceExtensions(of: Extended, event: ExtensionEvent): readonly Extension[] | undefined {
  const { extensions = [] } = of;
  const open = openExtension(of);
  if (event.type === 'ask_extension') {
    if (open !== undefined || extensions.length >= MAX_EXTENSIONS) return undefined;
    return [...extensions, { ...event.ask, state: 'asked' }];
  }
  if (open === undefined) return undefined;
  const { byMs, actor, askedAtMs } = open;
  const ask = { byMs, actor, askedAtMs };
  const last = (one: Extension) => [...extensions.slice(0, -1), one];
  switch (event.type) {
    case 'hold_extension':
      if (open.state !== 'asked') return undefined;
      return last({ ...ask, state: 'holding', holdCents: event.holdCents, policy: event.policy });
    case 'grant_extension':
      if (open.state !== 'holding') return undefined;
      return last({ ...ask, state: 'granted', holdCents: open.holdCents });
    case 'refuse_extension':
      return last({ ...ask, state: 'refused', reason: event.reason });
  }
}
