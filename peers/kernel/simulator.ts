import { check } from '../../core/schema.ts';
import { type NoticeSimulatorOptions, noticeRoute } from '../notice-simulator.ts';
import { type PeerServer, problemAnswer, type Route, refusedAnswer, startPeerServer } from '../simulator-server.ts';
import { HumanAction, RoleQuestion, UNKNOWN_PERSON } from './wire.ts';

export interface KernelSimulator extends PeerServer {
  /** What a person may do in a tenant from now on; undefined: Kernel knows nobody of that name. */
  setRoles(tenant: string, person: string, roles: readonly string[] | undefined): void;
  /** What people did, in the order in which it came. */
  readonly recorded: readonly HumanAction[];
}

/** A Kernel that knows whom it was told of, on the real wire. */
export async function startKernelSimulator(options: NoticeSimulatorOptions = {}): Promise<KernelSimulator> {
  const people = new Map<string, readonly string[]>();
  const keyOf = (tenant: unknown, person: unknown) => JSON.stringify([tenant, person]);
  const roles: Route = {
    name: 'roles',
    method: 'POST',
    path: /^\/v1\/role-questions$/,
    handle: ({ body }) => {
      const refusals = check(RoleQuestion, body);
      if (refusals.length > 0) return refusedAnswer(refusals);
      const { tenant, person } = body as unknown as RoleQuestion;
      const granted = people.get(keyOf(tenant, person));
      if (granted === undefined) return problemAnswer(404, UNKNOWN_PERSON, 'nobody of that name is known here');
      return { status: 200, body: { tenant, person, roles: [...granted] } };
    },
  };
  const record = noticeRoute<HumanAction>({ name: 'record', path: /^\/v1\/human-actions$/, schema: HumanAction });
  const server = await startPeerServer([roles, record.route], options);
  return {
    ...server,
    setRoles: (tenant, person, granted) => {
      if (granted === undefined) people.delete(keyOf(tenant, person));
      else people.set(keyOf(tenant, person), granted);
    },
    get recorded() {
      return record.told();
    },
  };
}
