import type { Json } from '../core/canonical.ts';
import { OperatingError } from '../core/operating-error.ts';
import { refusalText } from '../core/refusal.ts';
import { check, Type } from '../core/schema.ts';
import { askPeer, type PeerHttp } from './peer-call.ts';
import { Id } from './wire.ts';

/**
 * Telling a peer something once it is true: by an id of ours, so that telling it again is harmless. The peer answers 200 with the id, also where it had it
 * before; 409 where something else stands under it.
 */
export type Told =
  | { readonly kind: 'taken' }
  /** It will not take it later either. */
  | { readonly kind: 'refused'; readonly code: string; readonly detail: string };

export const NOTICE_TIMEOUT_MS = 5_000;

const Receipt = Type.Object({ id: Id });

/** Throws OperatingError where it was not told, or nobody knows: it is told again. */
export async function tellPeer(question: {
  readonly http: PeerHttp;
  readonly path: string;
  readonly id: string;
  readonly body: Json;
  readonly doing: string;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}): Promise<Told> {
  const { doing, id } = question;
  const answer = await askPeer({ ...question, method: 'POST', pure: true });
  if (answer.kind === 'answer') {
    const refusals = check(Receipt, answer.body);
    if (refusals.length === 0 && (answer.body as { readonly id: string }).id === id) return { kind: 'taken' };
    const cause = refusals.length > 0 ? refusals.map(refusalText).join('; ') : 'it answered for another id';
    throw new OperatingError('bad-reply', 'safe', doing, { cause });
  }
  // Something else stands at its address.
  if (answer.status === 404 || answer.status === 415)
    throw new OperatingError('bad-reply', 'safe', doing, { cause: `it answered ${answer.status} ${answer.code}` });
  return { kind: 'refused', code: answer.code, detail: answer.detail };
}
