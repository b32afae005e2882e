import { randomUUID } from 'node:crypto';
import { type KubernetesAccess, openKubernetes } from './kubernetes.ts';
import { type Lease, type LeaseStore, type LeaseTerm, openLeases } from './kubernetes-lease.ts';
import { LEASE_MS, type Nomination, type Nominator, type Seat } from './nominator.ts';

/** Parts of the lease: how often it is asked for or renewed, which bounds a call too, and when a holder gives up that could not renew it. */
const RETRY_PART = 1 / 5;
const GIVE_UP_PART = 2 / 3;
/** client-go's, of a lease that was given back. */
const GIVEN_BACK_SECONDS = 1;

export interface LeaseNames {
  /** undefined: that of the pod, or of the kubeconfig's context, else `default`. */
  readonly namespace: string | undefined;
  /** Leases are called `<prefix>-<seat>`: two installations in one namespace have two prefixes. */
  readonly prefix: string;
}

/**
 * Nominates by a Lease of Kubernetes a seat, with the rules of client-go's leader election: a lease is written only where nobody wrote since it was
 * read; it is free where its holder gave it back, or where who waits saw no change of it for its duration by a clock of his own, whatever times
 * stand in it, the first look counting as a change; its holder gives up, before another may start, once it could not be renewed.
 * Source: k8s.io/client-go/tools/leaderelection.
 */
export async function kubernetesNominator(
  access: KubernetesAccess,
  names: LeaseNames,
  leaseMs = LEASE_MS,
): Promise<Nominator> {
  const kubernetes = await openKubernetes(access);
  const namespace = names.namespace ?? kubernetes.namespace ?? 'default';
  const store = await openLeases(kubernetes, namespace, leaseMs * RETRY_PART);
  const candidates = new Map<Seat, Candidate>();
  let away: string | undefined;
  const ask = async <Result>(work: () => Promise<Result>): Promise<Result | undefined> => {
    const answer = await withFaults(store, work);
    away = answer.away;
    return answer.result;
  };
  // Whoever may not even look is told at the start.
  await ask(() => store.read(`${names.prefix}-engine`));
  return {
    nominate: (seat, holder) => {
      const candidate = candidates.get(seat) ?? newCandidate(`${names.prefix}-${seat}`);
      candidates.set(seat, candidate);
      // Who waits asks more often than Kubernetes need hear.
      if (performance.now() - candidate.askedAt < leaseMs * RETRY_PART) return Promise.resolve(undefined);
      return ask(() => tryToTake(store, candidate, holder, leaseMs));
    },
    away: () => away,
    close: async () => {},
  };
}

/** What came of asking Kubernetes; neither: another was faster. */
interface Answer<Result> {
  readonly result?: Result;
  readonly away?: string;
}

/** Throws what waiting does not mend. */
async function withFaults<Result>(store: LeaseStore, work: () => Promise<Result>): Promise<Answer<Result>> {
  try {
    return { result: await work() };
  } catch (error) {
    const fault = store.fault(error);
    if (fault.kind === 'refused') throw fault.error;
    if (fault.kind !== 'away') return {};
    return { away: `Kubernetes does not answer: ${error instanceof Error ? error.message : String(error)}` };
  }
}

/** What one that waits for a lease knows of it. */
interface Candidate {
  readonly name: string;
  /** Under which it stands for the lease, until it was seen to have it: a write whose reply was lost is known again by it. */
  identity: string | undefined;
  askedAt: number;
  /** What another's lease said when it last changed, and when that was seen. */
  seen: string | undefined;
  seenAt: number;
}

function newCandidate(name: string): Candidate {
  return { name, identity: undefined, askedAt: Number.NEGATIVE_INFINITY, seen: undefined, seenAt: 0 };
}

async function tryToTake(
  store: LeaseStore,
  candidate: Candidate,
  holder: string,
  leaseMs: number,
): Promise<Nomination | undefined> {
  const now = performance.now();
  candidate.askedAt = now;
  candidate.identity ??= `${holder} ${randomUUID()}`;
  const { identity, name } = candidate;
  const lease = await store.read(name);
  if (lease !== undefined && !isFree(lease, candidate, now)) return undefined;
  const takenAt = performance.now();
  const term = termOf(lease, identity, leaseMs);
  const taken = lease === undefined ? await store.create(name, term) : await store.replace(lease, term);
  candidate.identity = undefined;
  return hold(store, taken, identity, leaseMs, takenAt);
}

/** `askedAt` is before the lease was read, and what is seen of it is seen after: of the two errors this one waits too long. */
function isFree({ spec }: Lease, candidate: Candidate, askedAt: number): boolean {
  const holder = spec?.holderIdentity ?? '';
  if (holder === '' || holder === candidate.identity) return true;
  const said = JSON.stringify(spec);
  if (said !== candidate.seen) {
    candidate.seen = said;
    candidate.seenAt = performance.now();
  }
  return askedAt - candidate.seenAt > (spec?.leaseDurationSeconds ?? 0) * 1000;
}

/** The lease from now on, whoever had it; its times are for people to read. */
function termOf(lease: Lease | undefined, identity: string, leaseMs: number): LeaseTerm {
  const now = new Date();
  const before = lease?.spec;
  const stays = before?.holderIdentity === identity;
  return {
    holder: identity,
    seconds: Math.max(1, Math.ceil(leaseMs / 1000)),
    acquiredAt: stays ? undefined : now,
    renewedAt: now,
    transitions: lease === undefined ? 0 : (before?.leaseTransitions ?? 0) + (stays ? 0 : 1),
  };
}

function hold(store: LeaseStore, taken: Lease, identity: string, leaseMs: number, takenAt: number): Nomination {
  const lost = new AbortController();
  let lease = taken;
  let heldSince = takenAt;
  let renewing: Promise<void> | undefined;
  const giveUpIn = () => heldSince + leaseMs * GIVE_UP_PART - performance.now();
  let givingUp = setTimeout(() => lost.abort(), giveUpIn());
  const renew = async () => {
    const askedAt = performance.now();
    // After a freeze this may run before the timer does: the lease may be another's by now.
    if (giveUpIn() <= 0) return lost.abort();
    try {
      const renewed = await rewrite(store, lease, identity, (one) => termOf(one, identity, leaseMs));
      if (lost.signal.aborted) return;
      if (renewed === undefined) return lost.abort();
      lease = renewed;
      heldSince = askedAt;
      clearTimeout(givingUp);
      givingUp = setTimeout(() => lost.abort(), giveUpIn());
    } catch (error) {
      store.fault(error);
      // It may still be ours: the time since the last renewal decides.
    }
  };
  const beat = setInterval(() => {
    // What is no fault of the world costs the nomination, and not the process.
    renewing ??= renew()
      .catch(() => lost.abort())
      .finally(() => {
        renewing = undefined;
      });
  }, leaseMs * RETRY_PART);
  const end = () => {
    clearInterval(beat);
    clearTimeout(givingUp);
  };
  lost.signal.addEventListener('abort', end, { once: true });
  return {
    lost: lost.signal,
    resign: async () => {
      lost.abort();
      await renewing;
      await rewrite(store, lease, identity, givenBack).catch(() => {});
    },
  };
}

/** The next holder need not wait. */
function givenBack(lease: Lease): LeaseTerm {
  const now = new Date();
  const transitions = lease.spec?.leaseTransitions ?? 0;
  return { holder: '', seconds: GIVEN_BACK_SECONDS, acquiredAt: now, renewedAt: now, transitions };
}

/**
 * Writes our lease; undefined where it is ours no more. It may have been written since by a person (a label), or by us where a reply was lost:
 * then it is read and written once more.
 */
async function rewrite(
  store: LeaseStore,
  lease: Lease,
  identity: string,
  term: (lease: Lease) => LeaseTerm,
): Promise<Lease | undefined> {
  try {
    return await store.replace(lease, term(lease));
  } catch (error) {
    const { kind } = store.fault(error);
    if (kind !== 'conflict' && kind !== 'absent') throw error;
  }
  const found = await store.read(lease.metadata?.name ?? '');
  return found?.spec?.holderIdentity === identity ? store.replace(found, term(found)) : undefined;
}
