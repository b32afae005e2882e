import type { Json } from './canonical.ts';

/**
 * What an audit event says. Its RFC 8785 bytes are the Merkle leaf's data; `subject` and `n` number the events of one thing
 * from 1 without a gap, so that a missing one shows in a receipt too. Amounts are decimal strings.
 */
export interface AuditEvent {
  readonly v: 1;
  readonly id: string;
  readonly tenant: string;
  /** `booking/<id>`, `suite/<name>`, `model/<name>`, `pool/<name>`, `signer/<keyId>`. */
  readonly subject: string;
  readonly n: number;
  /** `booking.created`, `booking.<state entered>`, `decision.promote`, `decision.demote`, `artifact.manifest`, … */
  readonly type: string;
  /** RFC 3339, milliseconds, Z. */
  readonly at: string;
  readonly actor: string;
  /** W3C trace id, 32 hex. */
  readonly trace: string;
  readonly data: { readonly [key: string]: Json };
}
