import { type Static, Type } from '../../core/schema.ts';
import { Id, Sha256, Slug } from '../wire.ts';

/**
 * Reasoning Graph's wire, version 1:
 *   POST /v1/explanations   Explanation → 200 {id}, also where it came before · 409 problem: another one under this id
 */
export const EXPLANATIONS_PATH = '/v1/explanations';

/** Why a model took or left its seat, or an allocation moved on: one audit event, with what it rests on. */
export const Explanation = Type.Object(
  {
    format: Type.Literal('merit-explanation/1'),
    /** SHA-256 of the audit event's RFC 8785 bytes: its own id is another event's too where a trail was put back to an earlier time. */
    id: Sha256,
    event: Id,
    tenant: Slug,
    about: Type.Object(
      {
        kind: Type.Union([Type.Literal('promotion'), Type.Literal('allocation')]),
        /** The suite, or the allocation. */
        id: Type.String({ minLength: 1, maxLength: 128 }),
        /** Its place among the events of its subject. */
        n: Type.Integer({ minimum: 1 }),
      },
      { additionalProperties: false },
    ),
    what: Type.String({ minLength: 1, maxLength: 64 }),
    /** In words, for a person. */
    text: Type.String({ minLength: 1, maxLength: 2000 }),
    /** RFC 3339. */
    at: Type.String({ maxLength: 40 }),
    actor: Type.String({ maxLength: 256 }),
    /** The audit events that led to it, by their own ids as `event` names this one. */
    causes: Type.Array(Id, { maxItems: 64 }),
    /** SHA-256 of what it rests on: decisions, answers of peers, signatures. `merit receipt` and `merit audit export` hold them. */
    evidence: Type.Array(Sha256, { maxItems: 64 }),
    trace: Type.String({ maxLength: 64 }),
  },
  { additionalProperties: false },
);
export type Explanation = Readonly<Static<typeof Explanation>>;
