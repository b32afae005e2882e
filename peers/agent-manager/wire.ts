import { type Static, Type } from '../../core/schema.ts';
import { Money } from '../money.ts';
import { Id, Name, Sha256, Slug } from '../wire.ts';

/**
 * Agent Manager's wire, version 1:
 *   POST /v1/notices   Notice → 200 {id}, also where it came before · 409 problem: another notice under this id
 */
export const NOTICES_PATH = '/v1/notices';

/** What Agent Manager is told of. */
export const NOTICE_STATES = [
  'applied',
  'draining',
  'waiting',
  'released',
  'rejected',
  'infeasible',
  'failed',
  'expired',
  'cancelled',
  'revoked',
] as const;

/** What becomes of an allocation, for whoever runs the agents that live on it. */
export const Notice = Type.Object(
  {
    format: Type.Literal('merit-notice/1'),
    /** SHA-256 of the RFC 8785 bytes of the audit event that tells it: the event's own id is another event's too where a trail was put back to an earlier time. */
    id: Sha256,
    event: Id,
    tenant: Slug,
    division: Slug,
    allocation: Name,
    attempt: Type.Integer({ minimum: 1 }),
    /** What it is in from now on. */
    state: Type.Enum([...NOTICE_STATES]),
    /** RFC 3339. */
    at: Type.String({ maxLength: 40 }),
    /** Who spends it, where it is money alone. */
    agent: Type.Union([Slug, Type.Null()]),
    model: Type.Union([Name, Type.Null()]),
    /** Of money alone. */
    money: Type.Union([Money, Type.Null()]),
    reason: Type.Union([Type.String({ maxLength: 1000 }), Type.Null()]),
  },
  { additionalProperties: false },
);
export type Notice = Readonly<Static<typeof Notice>>;
