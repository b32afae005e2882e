import { Readable } from 'node:stream';
import { OperatingError } from '../../core/operating-error.ts';
import type { Finance } from '../../peers/finance/client.ts';
import type { SentinelNet } from '../../peers/sentinelnet/client.ts';
import type { Clock } from '../../platform/clock.ts';
import { type Provider, ProviderError } from '../../providers/provider.ts';
import type { BookingDesk } from '../../scheduler/apply/booking-desk.ts';
import type { SagaContext } from '../../scheduler/apply/context.ts';
import type { Move } from '../../scheduler/apply/moves.ts';
import type { StoryTime } from './story-time.ts';

/**
 * What can happen at a node, which is one call of a port: whatever a saga awaits of the world goes through one. `fail`: it is refused, nothing was done.
 * `unknown-…`: no answer comes, and it was not, or was, done. `repeat`: it is done twice, and the second answer is told. `crash-…`: the process ends there.
 */
export const FAULTS = ['fail', 'unknown-before', 'unknown-after', 'repeat', 'crash-before', 'crash-after'] as const;
export type Fault = (typeof FAULTS)[number];

/** What undoes; each is a call by an id that was given before. */
export const UNDOS = ['provider.release', 'finance.reverse', 'finance.settle', 'commit.released'] as const;

/** What happens at a node; `name`: it without its number. */
export type Plan = (node: string, name: string) => Fault | undefined;

/** One process's way to the world. After a crash nothing that it called answers, nor does its clock: whatever it was about never goes on. */
export class Wire {
  /** Nodes in the order in which they were first come to: `port.verb#n`, the n-th call of it. */
  readonly nodes: string[] = [];
  readonly #times = new Map<string, number>();
  readonly #plan: Plan;
  readonly #meanwhile: (name: string) => Promise<void>;
  #met = 0;
  #isDead = false;

  /** `meanwhile`: what happens in the world after a call took effect and before its answer comes. */
  constructor(plan: Plan = () => undefined, meanwhile: (name: string) => Promise<void> = async () => {}) {
    this.#plan = plan;
    this.#meanwhile = meanwhile;
  }

  get isDead(): boolean {
    return this.#isDead;
  }

  /** Faults that happened. */
  get met(): number {
    return this.#met;
  }

  async pass<T>(names: readonly string[], call: () => Promise<T>, refused: () => T, silent: () => T): Promise<T> {
    if (this.#isDead) return forever();
    const fault = this.#faultAt(names);
    if (fault !== undefined) this.#met++;
    if (fault === 'crash-before') return this.#crash();
    if (fault === 'fail') return refused();
    if (fault === 'unknown-before') return silent();
    const answer = await call().then(
      (value) => {
        if (this.#isDead || fault?.startsWith('crash') === true) closeStream(value);
        return () => value;
      },
      (error: unknown) => () => {
        throw error;
      },
    );
    for (const name of names) await this.#meanwhile(name);
    if (this.#isDead) return forever();
    if (fault === 'crash-after') return this.#crash();
    if (fault === 'unknown-after') return silent();
    if (fault === 'repeat') return call();
    return answer();
  }

  #faultAt(names: readonly string[]): Fault | undefined {
    let fault: Fault | undefined;
    for (const name of names) {
      const n = (this.#times.get(name) ?? 0) + 1;
      this.#times.set(name, n);
      const node = `${name}#${n}`;
      this.nodes.push(node);
      fault ??= this.#plan(node, name);
    }
    return fault;
  }

  #crash<T>(): Promise<T> {
    this.#isDead = true;
    return forever();
  }
}

/** A process that is gone holds no file open. */
function closeStream(value: unknown): void {
  if (value instanceof Readable) value.destroy();
}

function forever<T>(): Promise<T> {
  return new Promise(() => {});
}

/** In the text of every fault that a test ordered. */
export const ORDERED = 'the test says so';

const away = (what: string): never => {
  throw new OperatingError('unreachable', 'safe', what, { cause: ORDERED });
};
const late = (what: string): never => {
  throw new OperatingError('timeout', 'look-first', what, { cause: ORDERED });
};

/** Every method goes through the wire but those that answer at once. */
function wired<T extends object>(
  wire: Wire,
  port: string,
  target: T,
  say: Partial<Record<string, Says>> = {},
  direct: readonly string[] = [],
): T {
  return new Proxy(target, {
    get: (_, verb) => {
      const value: unknown = Reflect.get(target, verb, target);
      if (typeof value !== 'function' || typeof verb !== 'string') return value;
      if (direct.includes(verb)) return value.bind(target);
      return (...args: readonly unknown[]) => {
        const name = `${port}.${verb}`;
        const { names, refused, silent } = { ...SAYS, ...say[verb] };
        return wire.pass(
          names?.(args) ?? [name],
          async () => Reflect.apply(value, target, args) as unknown,
          () => refused(name, args),
          () => silent(name, args),
        );
      };
    },
  });
}

interface Says {
  /** Other names of the call than `port.verb`. */
  readonly names?: (args: readonly unknown[]) => readonly string[];
  readonly refused?: (what: string, args: readonly unknown[]) => unknown;
  readonly silent?: (what: string, args: readonly unknown[]) => unknown;
}

const SAYS: Required<Pick<Says, 'refused' | 'silent'>> = { refused: away, silent: late };

const reason = { code: 'refused_by_test', text: 'the test says no', mend: 'nothing' };
const evidence = { test: 'refused' };
const unknown = (what: string) => ({
  kind: 'unknown',
  cause: new OperatingError('timeout', 'look-first', what, { cause: ORDERED }),
});
const conflict = () => ({ kind: 'conflict', code: 'refused_by_test', reason, evidence });
const money = { refused: conflict, silent: unknown } as const;

function wiredFinance(wire: Wire, target: Finance): Finance {
  const hold = { refused: () => ({ kind: 'refused', reason, evidence }), silent: unknown };
  return wired(wire, 'finance', target, { hold, confirm: money, settle: money, reverse: money });
}

function wiredSentinel(wire: Wire, target: SentinelNet): SentinelNet {
  const refused = () => ({
    kind: 'deny',
    code: 'policy_denied',
    reasons: [reason],
    requestHash: 'x'.repeat(64),
    evidence,
  });
  // Of another version than any: the same is asked again.
  const version = { refused: () => 'a-newer-version' };
  return wired(wire, 'sentinelnet', target, { decide: { refused }, currentPolicyVersion: version });
}

function wiredProvider(wire: Wire, target: Provider): Provider {
  const away = (what: string) => {
    throw new ProviderError('transient', `${what}: ${ORDERED}`);
  };
  const silent = (what: string) => {
    throw new ProviderError('transient', `${what}: no answer`, { effect: 'unknown' });
  };
  const refused = () => {
    throw new ProviderError('invalid', 'the test refuses the job');
  };
  const usual = { refused: away, silent };
  const say = Object.fromEntries(
    ['observe', 'drain', 'release', 'list', 'logs', 'usage'].map((verb) => [verb, usual]),
  ) as Record<string, Says>;
  return wired(wire, 'provider', target, { ...say, submit: { refused, silent } }, ['close']);
}

function wiredDesk(wire: Wire, target: BookingDesk): BookingDesk {
  const commit = { names: ([moves]: readonly unknown[]) => (moves as readonly Move[]).map(nameOf) };
  const desk = wired(wire, 'desk', target, { commit });
  return Object.assign(Object.create(desk) as BookingDesk, {
    logs: wired(wire, 'logs', target.logs),
    runs: wired(wire, 'runs', target.runs),
  });
}

function nameOf({ event }: Move): string {
  return `commit.${event.type}`;
}

/** Ends with its process. */
function clockOf(wire: Wire, time: StoryTime): Clock {
  return {
    now: time.now,
    sleep: async (ms, signal) => {
      await time.sleep(ms, signal);
      if (wire.isDead) await forever();
    },
  };
}

/** The saga's context with every port through the wire. */
export function wiredContext(wire: Wire, context: SagaContext, time: StoryTime): SagaContext {
  const { desk, finance, sentinelNet, providers, store, publishReports } = context;
  return {
    ...context,
    clock: clockOf(wire, time),
    desk: wiredDesk(wire, desk),
    finance: wiredFinance(wire, finance),
    sentinelNet: wiredSentinel(wire, sentinelNet),
    providers: {
      of: async (tenant, pool) => wiredProvider(wire, await providers.of(tenant, pool)),
      health: (tenant, pool) => providers.health(tenant, pool),
    },
    store: wired(wire, 'store', store, {}, ['list']),
    publishReports: (ndjson, source) =>
      wire.pass(
        ['reports.publish'],
        () => publishReports(ndjson, source),
        () => away('reports.publish'),
        () => late('reports.publish'),
      ),
  };
}

/** What the loop that books retrains does in Postgres. */
export function wiredDatabase<T extends object>(wire: Wire, db: T): T {
  return wired(wire, 'retrain', db);
}
