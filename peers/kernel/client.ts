import { type AccessRole, isAccessRole } from '../../core/access.ts';
import type { Json } from '../../core/canonical.ts';
import { OperatingError } from '../../core/operating-error.ts';
import { refusalText } from '../../core/refusal.ts';
import { check } from '../../core/schema.ts';
import { NOTICE_TIMEOUT_MS, type Told, tellPeer } from '../notice.ts';
import { askPeer, type PeerHttp } from '../peer-call.ts';
import { HUMAN_ACTIONS_PATH, type HumanAction, ROLE_QUESTIONS_PATH, RoleAnswer, UNKNOWN_PERSON } from './wire.ts';

/** A request waits for it: shorter than what peers that nobody waits for get. */
const ROLES_TIMEOUT_MS = 2_000;

export interface Kernel {
  /** The roles that a person has in a tenant; none where Kernel knows nobody of that name. Throws OperatingError: nobody knows, which grants nothing. */
  rolesOf(tenant: string, person: string, signal: AbortSignal): Promise<readonly AccessRole[]>;
  /** Throws OperatingError where it was not told, or nobody knows. */
  record(action: HumanAction, signal: AbortSignal): Promise<Told>;
}

export function kernel(options: {
  readonly http: PeerHttp;
  readonly rolesTimeoutMs?: number;
  readonly timeoutMs?: number;
}): Kernel {
  const { http, rolesTimeoutMs = ROLES_TIMEOUT_MS, timeoutMs = NOTICE_TIMEOUT_MS } = options;
  return {
    rolesOf: async (tenant, person, signal) => {
      const doing = 'asking Kernel for a person’s roles';
      const answer = await askPeer({
        http,
        method: 'POST',
        path: ROLE_QUESTIONS_PATH,
        body: { format: 'merit-role-question/1', tenant, person },
        doing,
        timeoutMs: rolesTimeoutMs,
        signal,
        pure: true,
      });
      if (answer.kind === 'problem') {
        if (answer.status === 404 && answer.code === UNKNOWN_PERSON) return [];
        throw new OperatingError('bad-reply', 'safe', doing, { cause: `it answered ${answer.status} ${answer.code}` });
      }
      return rolesIn(answer.body, tenant, person, doing);
    },
    record: (action, signal) =>
      tellPeer({
        http,
        path: HUMAN_ACTIONS_PATH,
        id: action.id,
        body: action as Json,
        doing: 'recording a human action with Kernel',
        timeoutMs,
        signal,
      }),
  };
}

function rolesIn(body: Json, tenant: string, person: string, doing: string): readonly AccessRole[] {
  const refusals = check(RoleAnswer, body);
  if (refusals.length > 0)
    throw new OperatingError('bad-reply', 'safe', doing, { cause: refusals.map(refusalText).join('; ') });
  const answer = body as unknown as RoleAnswer;
  if (answer.tenant !== tenant || answer.person !== person)
    throw new OperatingError('bad-reply', 'safe', doing, { cause: 'it answered for somebody else' });
  // Kernel governs other services as well: what only those have grants nothing here.
  return answer.roles.filter(isAccessRole);
}
