import type { AccessRole } from '../../core/access.ts';
import { OperatingError } from '../../core/operating-error.ts';
import type { Clock } from '../../platform/clock.ts';
import type { Kernel } from './client.ts';

/** A role that Kernel takes away is gone here after so long at most. */
export const ROLES_KEPT_MS = 30_000;
/** A question that was not answered is asked again no sooner: requests that fail do not become a storm of questions. */
export const ASK_AGAIN_MS = 1_000;
/** People remembered at a time, the longest known forgotten first. */
const MAX_PEOPLE = 10_000;

/** `none`: Kernel knows them and grants nothing, or does not know them. `lost`: no answer. `invalid`: an answer that is none. */
export const ROLE_OUTCOMES = ['roles', 'none', 'lost', 'invalid'] as const;

export type PersonRoles =
  | { readonly kind: 'roles'; readonly roles: readonly AccessRole[] }
  /** Nobody knows now, which grants nothing. `why` is one of a closed list of texts. */
  | { readonly kind: 'away'; readonly why: string };

export interface RoleWatch {
  answered(outcome: (typeof ROLE_OUTCOMES)[number]): void;
  /** The first question that was not answered after one that was. */
  failed(error: OperatingError): void;
  recovered(): void;
}

export interface RoleBook {
  rolesOf(tenant: string, person: string): Promise<PersonRoles>;
  /** In words, for whoever asks whether this server is ready. */
  state(): string;
}

interface Entry {
  readonly found: PersonRoles;
  readonly atMs: number;
}

/** What Kernel says people may do, each asked for at most once at a time. A lost answer is no answer: what it said before ends with its time. */
export function roleBook(parts: {
  readonly kernel: Kernel;
  readonly clock: Clock;
  readonly watch: RoleWatch;
}): RoleBook {
  const { kernel, clock, watch } = parts;
  const known = new Map<string, Entry>();
  const asking = new Map<string, Promise<PersonRoles>>();
  let failing: string | undefined;

  const ask = async (tenant: string, person: string): Promise<PersonRoles> => {
    try {
      // It ends by the client's own limit, whose error says so; nobody calls it off.
      const roles = await kernel.rolesOf(tenant, person, new AbortController().signal);
      watch.answered(roles.length > 0 ? 'roles' : 'none');
      if (failing !== undefined) watch.recovered();
      failing = undefined;
      return { kind: 'roles', roles };
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      const isInvalid = error.code === 'bad-reply';
      watch.answered(isInvalid ? 'invalid' : 'lost');
      if (failing === undefined) watch.failed(error);
      failing = isInvalid
        ? 'what Kernel answers about people’s roles is no answer; nobody has a role by it'
        : 'Kernel, which says what people may do here, does not answer; come back';
      return { kind: 'away', why: failing };
    }
  };

  const asked = async (key: string, tenant: string, person: string): Promise<PersonRoles> => {
    // Counted from the question on: what is taken away while it is under way is gone in time, too.
    const atMs = clock.now();
    const found = await ask(tenant, person);
    known.delete(key);
    if (known.size >= MAX_PEOPLE) known.delete(known.keys().next().value!);
    known.set(key, { found, atMs });
    return found;
  };

  return {
    rolesOf: (tenant, person) => {
      const key = JSON.stringify([tenant, person]);
      const entry = known.get(key);
      const ageMs = clock.now() - (entry?.atMs ?? 0);
      // A clock that was set back must keep no role alive.
      if (entry !== undefined && ageMs >= 0 && ageMs < (entry.found.kind === 'roles' ? ROLES_KEPT_MS : ASK_AGAIN_MS))
        return Promise.resolve(entry.found);
      const going = asking.get(key) ?? asked(key, tenant, person).finally(() => asking.delete(key));
      asking.set(key, going);
      return going;
    },
    state: () => failing ?? 'says what people may do',
  };
}
