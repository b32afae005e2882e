import type { FastifyReply, FastifyRequest } from 'fastify';
import { APPROVAL_ACTIONS, SIGNATURE_FAULTS, type Statement } from '../../../core/approval.ts';
import { type Refusal, RefusedInput, refuse } from '../../../core/refusal.ts';
import { Type } from '../../../core/schema.ts';
import type { Tx } from '../../../platform/postgres.ts';
import type { GivenSignature, SignRefusal } from '../../../scheduler/signatures/sign.ts';
import { filterOf, found, mutate, page, read } from '../answer.ts';
import type { RouteContext } from '../context.ts';
import { callerOf } from '../guard.ts';
import type { Answer } from '../idempotency.ts';
import { HttpProblem } from '../problem.ts';
import type { ProposeOutcome } from '../proposals-service.ts';
import { AnyView, IdParams, Literal, listOf, pageQuery, replies } from '../schemas.ts';
import type { Caller } from '../services.ts';

const tags = ['proposals'];

export const SignatureBody = Type.Object(
  {
    statementHash: Type.String({ pattern: '^[0-9a-f]{64}$', description: 'SHA-256 of the bytes that were signed' }),
    keyId: Type.String({ maxLength: 64, pattern: '^ed25519:[0-9a-f]{16}$' }),
    signature: Type.String({ maxLength: 88, description: 'base64 of the 64 bytes of a strict Ed25519 signature' }),
  },
  { title: 'Signature', additionalProperties: false },
);

const ProposalBody = Type.Object(
  {
    action: Type.Enum(['signing-policy.change']),
    document: Type.Union([
      Type.Object({}, { title: 'SigningPolicy', additionalProperties: true }),
      Type.Null({ description: 'none: nothing asks for signatures any more but SentinelNet' }),
    ]),
    reason: Type.Optional(Type.String({ minLength: 1, maxLength: 500 })),
  },
  { title: 'Proposal', additionalProperties: false },
);

/** What several people have to sign before it happens: large allocations, revokes, and who may sign. */
export function proposalRoutes(context: RouteContext): void {
  listRoute(context);
  getRoute(context);
  proposeRoute(context);
  signRoute(context, 'approve', 'One person’s signature; the last that is needed has it happen');
  signRoute(context, 'reject', 'One person’s signature under a no: it does not happen');
}

function listRoute(context: RouteContext): void {
  const Query = Type.Object(
    {
      ...pageQuery,
      state: Type.Optional(Type.Enum(['open', 'met', 'done', 'rejected', 'expired', 'void'])),
      action: Type.Optional(Type.Enum([...APPROVAL_ACTIONS])),
      allocation: Literal,
    },
    { additionalProperties: false },
  );
  context.app.get(
    '/v1/proposals',
    {
      schema: {
        summary: 'Proposals, newest first',
        tags,
        querystring: Query,
        response: replies({ 200: listOf(AnyView) }),
      },
    },
    (request) => {
      const filter = filterOf(request, ['state', 'action', 'allocation']);
      return page(context, request, `proposals ${JSON.stringify(filter)}`, (tx, caller, at) =>
        context.services.proposals.list(tx, caller, filter, at),
      );
    },
  );
}

function getRoute(context: RouteContext): void {
  context.app.get(
    '/v1/proposals/:id',
    {
      schema: {
        summary: 'One proposal: what is signed, by whom, what is missing, and who may still sign',
        tags,
        params: IdParams,
        response: replies({ 200: AnyView }),
      },
    },
    async (request) => {
      const { id } = request.params as { id: string };
      return found(
        await read(context, request, (tx, caller) => context.services.proposals.get(tx, caller, id)),
        'proposal',
      );
    },
  );
}

function proposeRoute(context: RouteContext): void {
  context.app.post(
    '/v1/proposals',
    {
      config: { needs: 'operate', keyed: true },
      schema: {
        summary: 'Propose another SigningPolicy, or none, in place of the one that stands',
        tags,
        body: ProposalBody,
        response: replies({ 200: AnyView, 202: AnyView }),
      },
    },
    (request, reply) => {
      const { document, reason = null } = request.body as { document: object | null; reason?: string };
      return mutate(context, request, reply, async (tx, caller) => {
        try {
          return proposedAnswer(await context.services.proposals.propose(tx, caller, document, reason));
        } catch (error) {
          throw withinDocument(error);
        }
      });
    },
  );
}

/** Fields of the document are told as those of the body. */
function withinDocument(error: unknown): unknown {
  if (!(error instanceof RefusedInput)) return error;
  const at = (field: string) => (field === '' ? 'document' : `document.${field}`);
  return new RefusedInput(error.refusals.map((one): Refusal => ({ ...one, field: at(one.field) })));
}

export function proposedAnswer(outcome: ProposeOutcome): Answer {
  if (outcome.kind === 'refused') throw new HttpProblem(409, outcome.code, outcome.text);
  return {
    status: outcome.kind === 'proposed' ? 202 : 200,
    headers: { location: `/v1/proposals/${String(outcome.view.id)}` },
    body: outcome.view,
  };
}

function signRoute(context: RouteContext, verdict: Statement['verdict'], summary: string): void {
  context.app.post(
    `/v1/proposals/:id(^[^:/]+)::${verdict}`,
    {
      config: { needs: 'submit', keyed: true },
      schema: { summary, tags, params: IdParams, body: SignatureBody, response: replies({ 200: AnyView }) },
    },
    (request, reply) => {
      const { id } = request.params as { id: string };
      const given = signatureOf(request.body);
      return signedAnswer(context, request, reply, 'proposal', async () => ({ id, verdict, given }));
    },
  );
}

const SIGNATURE_BYTES = 64;

export function signatureOf(body: unknown): GivenSignature {
  const { statementHash, keyId, signature } = body as { statementHash: string; keyId: string; signature: string };
  const bytes = Buffer.from(signature, 'base64');
  if (bytes.length !== SIGNATURE_BYTES || bytes.toString('base64') !== signature)
    throw new RefusedInput([
      refuse(
        'signature',
        'signature',
        `is not ${SIGNATURE_BYTES} bytes in base64`,
        'send what the key made of the statement',
      ),
    ]);
  return { statementHash, keyId, signature: bytes };
}

interface ToSign {
  readonly id: string;
  readonly verdict: Statement['verdict'];
  readonly given: GivenSignature;
}

/** Takes a signature once for its Idempotency-Key; what was refused is counted and logged, and leaves nothing else. */
export async function signedAnswer(
  context: RouteContext,
  request: FastifyRequest,
  reply: FastifyReply,
  what: string,
  find: (tx: Tx, caller: Caller) => Promise<ToSign | undefined>,
): Promise<FastifyReply> {
  const { proposals } = context.services;
  return mutate(context, request, reply, async (tx, caller) => {
    const { id, verdict, given } = found(await find(tx, caller), what);
    const outcome = found(await proposals.sign(tx, caller, id, verdict, given), what);
    if (outcome.kind === 'refused') {
      proposals.refused(callerOf(context.services, request), id, outcome.code);
      throw refusalProblem(outcome.code, outcome.text);
    }
    return { status: 200, body: { ...outcome.view, already: outcome.kind === 'already' } };
  });
}

/** What is wrong with the signature is the sender's to mend; that somebody may not sign is told as such; else the proposal moved on. */
function refusalProblem(code: SignRefusal, text: string): HttpProblem {
  if (code === 'requester') return new HttpProblem(403, code, text);
  const field = code === 'bad_signature' ? 'signature' : 'keyId';
  const reasons = [refuse(code, field, text, MENDS[code] ?? 'read the proposal again')];
  return new HttpProblem(Object.hasOwn(SIGNATURE_FAULTS, code) ? 422 : 409, code, text, {
    reasons: Object.hasOwn(SIGNATURE_FAULTS, code) ? reasons : [],
  });
}

const MENDS: Readonly<Partial<Record<SignRefusal, string>>> = {
  no_signing_policy: 'declare a SigningPolicy: `merit apply -f`',
  unknown_key: 'sign with a key of the SigningPolicy: `merit signing-policy get`',
  outside_window: 'sign with a key that is valid now',
  bad_signature: 'read the proposal again, and sign exactly its statement',
};
