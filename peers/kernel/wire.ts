import { type Static, Type } from '../../core/schema.ts';
import { Id, Sha256, Slug } from '../wire.ts';

/**
 * Kernel's wire, version 1:
 *   POST /v1/role-questions   RoleQuestion → 200 RoleAnswer · 404 problem `unknown_person`: nobody that it knows
 *   POST /v1/human-actions    HumanAction → 200 {id}, also where it came before · 409 problem: another one under this id
 */
export const ROLE_QUESTIONS_PATH = '/v1/role-questions';
export const HUMAN_ACTIONS_PATH = '/v1/human-actions';
export const UNKNOWN_PERSON = 'unknown_person';

/** A person as the audit trail names them: `oidc:ann`; whoever holds the installation's token is `token:local`. */
const Person = Type.String({ minLength: 1, maxLength: 255, pattern: '^[\\x21-\\x7e]+$' });

/** What may this person do in this tenant now? */
export const RoleQuestion = Type.Object(
  { format: Type.Literal('merit-role-question/1'), tenant: Slug, person: Person },
  { additionalProperties: false },
);
export type RoleQuestion = Readonly<Static<typeof RoleQuestion>>;

/** It names whom it is about, so that an answer to another question is told from one to ours. Roles that Merit does not have mean nothing to it. */
export const RoleAnswer = Type.Object({
  tenant: Slug,
  person: Person,
  roles: Type.Array(Type.String({ minLength: 1, maxLength: 64, pattern: '^[a-z][a-z0-9_.-]*$' }), { maxItems: 64 }),
});
export type RoleAnswer = Readonly<Static<typeof RoleAnswer>>;

/** What a person did: one audit event whose actor is one. */
export const HumanAction = Type.Object(
  {
    format: Type.Literal('merit-human-action/1'),
    /**
     * SHA-256 of the audit event's RFC 8785 bytes, by which it is found in an exported chain. Not the event's own id: that says its place in its story, which
     * another event takes in a trail that was put back to an earlier time, and what was done twice is recorded twice.
     */
    id: Sha256,
    event: Id,
    tenant: Slug,
    person: Person,
    /** The event's type: `booking.created`, `booking.signing_approved`, `pool.applied`, … */
    action: Type.String({ minLength: 1, maxLength: 64 }),
    subject: Type.String({ minLength: 1, maxLength: 512 }),
    /** Its place among the events of its subject. */
    n: Type.Integer({ minimum: 1 }),
    /** RFC 3339. */
    at: Type.String({ maxLength: 40 }),
    /** The proposal that was made, signed or carried out. */
    proposal: Type.Union([Id, Type.Null()]),
    /** By the signing policy, whose key signed; that may be another than `person`, who handed the signature in. */
    signer: Type.Union([Type.String({ minLength: 1, maxLength: 256 }), Type.Null()]),
    reason: Type.Union([Type.String({ maxLength: 1000 }), Type.Null()]),
    trace: Type.String({ maxLength: 64 }),
  },
  { additionalProperties: false },
);
export type HumanAction = Readonly<Static<typeof HumanAction>>;
