import type { Statement } from '../../core/approval.ts';
import type { Tx } from '../../platform/postgres.ts';
import type { GivenSignature, SignRefusal } from '../../scheduler/signatures/sign.ts';
import type { Caller, Page, Rows, View } from './services.ts';

export interface ProposalFilter {
  readonly state?: string;
  readonly action?: string;
  readonly allocation?: string;
}

export type ProposeOutcome =
  /** `exists`: the same was proposed already. */
  | { readonly kind: 'proposed' | 'exists'; readonly view: View }
  | { readonly kind: 'refused'; readonly code: string; readonly text: string };

export type SignAnswer =
  /** `already`: this person had signed it before; nothing changed. */
  | { readonly kind: 'signed' | 'already'; readonly view: View }
  | { readonly kind: 'refused'; readonly code: SignRefusal; readonly text: string };

/** What several people have to sign before it happens, and their signatures. */
export interface ProposalsService {
  list(tx: Tx, caller: Caller, filter: ProposalFilter, page: Page): Promise<Rows>;
  /** With what is signed, and what is still missing. */
  get(tx: Tx, caller: Caller, id: string): Promise<View | undefined>;
  /** Those of an allocation, newest first. */
  ofAllocation(tx: Tx, caller: Caller, id: string): Promise<readonly View[]>;
  /** Another signing policy, or none (null). Throws RefusedInput. */
  propose(tx: Tx, caller: Caller, document: unknown, reason: string | null): Promise<ProposeOutcome>;
  /** The end of an allocation that holds something. undefined: there is no such allocation. */
  revoke(tx: Tx, caller: Caller, id: string, reason: string): Promise<ProposeOutcome | undefined>;
  /** undefined: there is no such proposal. */
  sign(
    tx: Tx,
    caller: Caller,
    id: string,
    verdict: Statement['verdict'],
    given: GivenSignature,
  ): Promise<SignAnswer | undefined>;
  /** Tells metrics and log of a signature that was refused: its transaction left nothing. */
  refused(caller: Caller, id: string, code: SignRefusal): void;
}
