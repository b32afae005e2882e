import type { CoordinationV1Api, V1Lease, V1LeaseSpec } from '@kubernetes/client-node';
import { OperatingError } from '../core/operating-error.ts';
import type { Kubernetes } from './kubernetes.ts';
import { type KubernetesFault, kubernetesFault } from './kubernetes-fault.ts';

/** A lease as it was read or written: the next write says so by its resourceVersion, and is refused where somebody wrote since. */
export type Lease = V1Lease;

/** What is written: times are Kubernetes' own form, with microseconds. */
export interface LeaseTerm {
  readonly holder: string;
  readonly seconds: number;
  /** undefined: it stays what it is. */
  readonly acquiredAt: Date | undefined;
  readonly renewedAt: Date;
  readonly transitions: number;
}

/** The coordination.k8s.io/v1 leases of one namespace. Calls throw what `fault` tells apart; it throws mistakes of ours again. */
export interface LeaseStore {
  /** undefined: there is none. */
  read(name: string): Promise<Lease | undefined>;
  create(name: string, term: LeaseTerm): Promise<Lease>;
  replace(lease: Lease, term: LeaseTerm): Promise<Lease>;
  fault(error: unknown): KubernetesFault;
}

/** Each call fails past `timeoutMs`. */
export async function openLeases(kubernetes: Kubernetes, namespace: string, timeoutMs: number): Promise<LeaseStore> {
  const { CoordinationV1Api: Api, V1MicroTime } = await import('@kubernetes/client-node');
  const api: CoordinationV1Api = kubernetes.config.makeApiClient(Api);
  const within = kubernetes.within(timeoutMs);
  const specOf = (term: LeaseTerm): V1LeaseSpec => ({
    holderIdentity: term.holder,
    leaseDurationSeconds: term.seconds,
    ...(term.acquiredAt === undefined ? {} : { acquireTime: new V1MicroTime(term.acquiredAt.getTime()) }),
    renewTime: new V1MicroTime(term.renewedAt.getTime()),
    leaseTransitions: term.transitions,
  });
  const fault = (error: unknown) =>
    kubernetesFault(error, `holding leases in the namespace ${namespace}`, (said) => rightsMend(namespace, said));
  return {
    read: async (name) => {
      try {
        return await api.readNamespacedLease({ name, namespace }, within);
      } catch (error) {
        if (fault(error).kind === 'absent') return undefined;
        throw error;
      }
    },
    create: async (name, term) => {
      const body = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: { name }, spec: specOf(term) };
      try {
        return await api.createNamespacedLease({ namespace, body }, within);
      } catch (cause) {
        if (fault(cause).kind !== 'absent') throw cause;
        throw new OperatingError('not-found', 'never', `making the lease ${name}`, {
          cause: `there is no namespace ${namespace}`,
          mend: `kubectl create namespace ${namespace}, or name another one in kubernetes.namespace`,
        });
      }
    },
    replace: (lease, term) =>
      api.replaceNamespacedLease(
        { name: lease.metadata?.name ?? '', namespace, body: { ...lease, spec: { ...lease.spec, ...specOf(term) } } },
        within,
      ),
    fault,
  };
}

/** The role that a refused caller lacks, ready to be given; `said` is what Kubernetes answered, which names the caller. */
function rightsMend(namespace: string, said: string): string {
  const account = /User "system:serviceaccount:([^:"]+):([^:"]+)"/.exec(said);
  const user = /User "([^"]+)"/.exec(said)?.[1];
  const subject =
    account !== null ? `--serviceaccount=${account[1]}:${account[2]}` : `--user='${user ?? 'WHO-MERIT-RUNS-AS'}'`;
  return [
    `it needs the verbs get, create and update on leases (coordination.k8s.io) in the namespace ${namespace}:`,
    `kubectl -n ${namespace} create role merit-leader --verb=get,create,update --resource=leases.coordination.k8s.io &&`,
    `kubectl -n ${namespace} create rolebinding merit-leader --role=merit-leader ${subject}`,
  ].join(' ');
}
