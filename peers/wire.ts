import type { Reason } from '../core/booking.ts';
import { canonicalBytes, type Json, sha256Hex } from '../core/canonical.ts';
import { withoutHidden } from '../core/hidden-characters.ts';
import { type Static, Type } from '../core/schema.ts';

/** Why a peer says no. Unknown members are kept in the evidence and mean nothing to us. */
export const WireReason = Type.Object({
  code: Type.String({ minLength: 1, maxLength: 64, pattern: '^[a-z0-9_.-]+$' }),
  text: Type.String({ minLength: 1, maxLength: 1000 }),
  mend: Type.Optional(Type.String({ maxLength: 1000 })),
});
export const WireReasons = Type.Array(WireReason, { maxItems: 32 });

/** RFC 9457, as far as we read it. */
export const Problem = Type.Object({
  code: Type.String({ minLength: 1, maxLength: 64, pattern: '^[a-z0-9_.-]+$' }),
  detail: Type.Optional(Type.String({ maxLength: 2000 })),
});
export type Problem = Static<typeof Problem>;

export const Id = Type.String({ minLength: 1, maxLength: 128, pattern: '^[A-Za-z0-9._:-]+$' });
export const Slug = Type.String({ minLength: 1, maxLength: 63, pattern: '^[a-z0-9]([a-z0-9-]*[a-z0-9])?$' });
export const Name = Type.String({ minLength: 1, maxLength: 64, pattern: '^[A-Za-z0-9._-]+$' });
export const Sha256 = Type.String({ minLength: 64, maxLength: 64, pattern: '^[0-9a-f]{64}$' });

/** What a peer was asked and what it answered, as it goes into the evidence table and the receipt. */
export interface Evidence {
  /** SHA-256 of `bytes`, lower-case hex. */
  readonly hash: string;
  /** RFC 8785. */
  readonly bytes: Buffer;
}

export function evidenceOf(peer: 'sentinelnet' | 'finance', request: Json, answer: Json): Evidence {
  const bytes = canonicalBytes({ format: 'merit-evidence/1', peer, request, answer });
  return { hash: sha256Hex(bytes), bytes };
}

/** A peer's reason as ours: its text is shown to people, so what a terminal would act on is taken out. */
export function reasonOf(wire: Static<typeof WireReason>, peer: string): Reason {
  return {
    code: wire.code,
    text: withoutHidden(wire.text),
    mend: withoutHidden(wire.mend ?? `ask whoever runs ${peer}`),
  };
}
