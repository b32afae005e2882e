import { type TSchema, Type } from '../../core/schema.ts';
import { PAGE_MAX } from './limits.ts';

/** The shapes that several routes share. Replies say their main members; a reader must allow for more. */

export const Slug = Type.String({ maxLength: 63, pattern: '^[a-z0-9]([a-z0-9-]*[a-z0-9])?$' });
export const Name = Type.String({ maxLength: 64, pattern: '^[A-Za-z0-9._-]+$' });

/** A path's id that only a look-up can judge: what is malformed does not exist. */
export const IdParams = Type.Object({ id: Type.String({ maxLength: 2048 }) });
export const NameParams = Type.Object({ name: Name }, { additionalProperties: false });
export const SlugParams = Type.Object({ name: Slug }, { additionalProperties: false });

export const pageQuery = {
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: PAGE_MAX, description: 'rows a page' })),
  cursor: Type.Optional(Type.String({ minLength: 1, maxLength: 512, description: 'nextCursor of the page before' })),
};

/** A filter is a literal: any text may be asked for, and finds only what equals it. */
export const Literal = Type.Optional(Type.String({ maxLength: 128 }));

export const ProblemReply = Type.Object(
  {
    type: Type.String(),
    title: Type.String(),
    status: Type.Integer(),
    code: Type.String({ description: 'stable; what a program decides by' }),
    detail: Type.String(),
    reasons: Type.Array(
      Type.Object({ code: Type.String(), field: Type.String(), problem: Type.String(), mend: Type.String() }),
    ),
    trace_id: Type.String(),
    durable: Type.Optional(
      Type.Object(
        { messages: Type.Integer(), lines: Type.Integer(), bytes: Type.Integer() },
        { description: 'of an upload that ended early: what of it is durable, and counts' },
      ),
    ),
  },
  { title: 'Problem', description: 'RFC 9457' },
);

const problemContent = {
  description: 'Refused or failed',
  content: { 'application/problem+json': { schema: ProblemReply } },
};

/** The replies of a route for the published document: its own by status, and the problem for all others. */
export function replies(
  own: Readonly<Record<number, TSchema | { readonly content: object }>>,
): Record<string, unknown> {
  return { ...own, default: problemContent };
}

/** A route that answers text of a media type of its own. */
export function text(mediaType: string): Record<string, unknown> {
  return replies({ 200: { description: 'As it is', content: { [mediaType]: { schema: Type.String() } } } });
}

const open = { additionalProperties: true };

export const ReasonView = Type.Object({ code: Type.String(), text: Type.String(), mend: Type.String() }, open);

const ExtensionView = Type.Object(
  {
    number: Type.Integer(),
    state: Type.String({ description: 'asked, holding, granted or refused' }),
    by: Type.String(),
    askedBy: Type.String(),
    askedAt: Type.String(),
    costs: Type.Union([Type.String(), Type.Null()], { description: 'what it adds to the most that the job can cost' }),
    reason: Type.Union([ReasonView, Type.Null()]),
  },
  open,
);

export const JobView = Type.Object(
  {
    id: Type.String({ description: 'also the allocation id' }),
    name: Type.String(),
    division: Type.String(),
    model: Type.Union([Type.String(), Type.Null()]),
    state: Type.String({ description: 'of the booking; its end says how the job ended' }),
    attempt: Type.Integer(),
    pool: Type.Union([Type.String(), Type.Null()]),
    flavour: Type.Union([Type.String(), Type.Null()]),
    provider: Type.Union([Type.String(), Type.Null()]),
    handle: Type.Union([Type.String(), Type.Null()], { description: 'the provider’s own id of it' }),
    requester: Type.String(),
    traceId: Type.String(),
    specHash: Type.String(),
    createdAt: Type.String(),
    updatedAt: Type.String(),
    reasons: Type.Array(ReasonView),
    leaseEndsAt: Type.Union([Type.String(), Type.Null()], { description: 'while it runs' }),
    extensions: Type.Array(ExtensionView, { description: 'longer leases that were asked for of this attempt' }),
    retryOf: Type.Union([Type.String(), Type.Null()], {
      description: 'the job that ended, of which this is another go',
    }),
    retriedAs: Type.Union([Type.String(), Type.Null()], { description: 'the job that is another go of this one' }),
    spec: Type.Unknown(),
  },
  { ...open, title: 'Job' },
);

export const AnyView = Type.Object({}, open);

export function listOf(item: TSchema): TSchema {
  return Type.Object({ items: Type.Array(item), nextCursor: Type.Optional(Type.String()) }, { title: 'Page' });
}
