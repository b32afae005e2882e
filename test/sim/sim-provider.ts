import {
  type AttemptSpec,
  type Handle,
  type Observation,
  type Owned,
  PROVIDER_CONTRACT_VERSION,
  type Provider,
  ProviderError,
} from '../../providers/provider.ts';
import type { Faults, Life } from './life.ts';
import type { Chance, Timeline } from './timeline.ts';

export interface Resource {
  readonly key: string;
  readonly tag: string;
  readonly submittedAtMs: number;
  /** Until then looks and lists may miss it. */
  readonly visibleAtMs: number;
  state: 'pending' | 'running' | 'succeeded' | 'failed' | 'stopped' | 'preempted';
  endedAtMs: number | undefined;
  /** Its provider forgot it. */
  gone: boolean;
}

/** How jobs go here. */
export interface JobChances {
  readonly slowStart: number;
  readonly fails: number;
  readonly vanishes: number;
  readonly reclaimed: number;
  readonly ignoresNotice: number;
  readonly longestMs: number;
}

export interface ProviderOptions {
  readonly pool: string;
  readonly spot: boolean;
  readonly windowMs: number;
  readonly timeline: Timeline;
  readonly chance: Chance;
  readonly faults: Faults;
  readonly jobs: () => JobChances;
  /** Is told of each release that takes effect. */
  readonly onRelease: (key: string) => void;
}

/** What a pool's provider runs; it outlives the engine. */
export class SimProvider {
  readonly resources = new Map<string, Resource>();
  /** Key → when a release of it last took effect. */
  readonly releasedAtMs = new Map<string, number>();
  readonly options: ProviderOptions;
  away = false;
  full = false;
  /** Its list and looks miss everything. */
  amnesia = false;
  /** When it last missed something that was there. */
  missedAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: ProviderOptions) {
    this.options = options;
  }

  isLive(key: string): boolean {
    const resource = this.resources.get(key);
    return resource !== undefined && !resource.gone && (resource.state === 'pending' || resource.state === 'running');
  }

  /** Something of somebody else, or ours by its tag without a booking. */
  plant(key: string, tag: string): void {
    const nowMs = this.options.timeline.now();
    this.resources.set(key, {
      key,
      tag,
      submittedAtMs: nowMs,
      visibleAtMs: nowMs,
      state: 'running',
      endedAtMs: undefined,
      gone: false,
    });
  }

  client(life: Life): Provider {
    const { windowMs, faults } = this.options;
    const ask = <T>(name: string, answer: () => T): Promise<T> =>
      life.call({
        name: `${this.options.pool}.${name}`,
        effect: () => {
          if (this.away) throw new ProviderError('transient', 'connect ECONNREFUSED', { effect: 'none' });
          return answer();
        },
        unanswered: () => {
          throw new ProviderError('transient', `${name} timed out`, { effect: 'unknown' });
        },
        faults,
      });
    return {
      kind: 'sim',
      contractVersion: PROVIDER_CONTRACT_VERSION,
      capabilities: { migrate: false, spot: true, topology: false, reserve: false, logs: false, resize: false },
      consistencyWindowMs: windowMs,
      capacity: () => Promise.resolve([]),
      offers: () => Promise.resolve([]),
      submit: (spec) => ask(`submit ${spec.key}`, () => this.#submit(spec)),
      observe: (key) => ask(`observe ${key}`, () => this.#observe(key)),
      drain: (key) => ask(`drain ${key}`, () => this.#drain(key)),
      release: (key) => ask(`release ${key}`, () => this.#release(key)),
      list: (tag) => ask('list', () => this.#list(tag)),
      logs: () => Promise.resolve(new Uint8Array()),
      close: () => Promise.resolve(),
    };
  }

  end(resource: Resource, state: 'succeeded' | 'failed' | 'stopped' | 'preempted'): void {
    if (resource.gone || (resource.state !== 'pending' && resource.state !== 'running')) return;
    resource.state = state;
    resource.endedAtMs = this.options.timeline.now();
    this.options.timeline.note(`${this.options.pool} ${resource.key} ${state}`);
  }

  #submit({ key, tag }: AttemptSpec): Handle {
    const { timeline, chance, windowMs, spot } = this.options;
    const known = this.resources.get(key);
    if (known !== undefined) return handleOf(key);
    if (this.full) throw new ProviderError('no_capacity', 'none left');
    const nowMs = timeline.now();
    const jobs = this.options.jobs();
    const resource: Resource = {
      key,
      tag,
      submittedAtMs: nowMs,
      visibleAtMs: nowMs + (windowMs === 0 ? 0 : chance.between(0, windowMs - 1)),
      state: 'pending',
      endedAtMs: undefined,
      gone: false,
    };
    this.resources.set(key, resource);
    const startMs = chance.is(jobs.slowStart) ? chance.between(1_000, 40_000) : chance.between(0, 500);
    const runMs = chance.between(500, jobs.longestMs);
    timeline.after(startMs, () => {
      if (resource.state === 'pending') resource.state = 'running';
    });
    const lot = chance.draw();
    const { fails, vanishes, reclaimed } = jobs;
    timeline.after(startMs + runMs, () => {
      if (lot < fails) this.end(resource, 'failed');
      else if (lot < fails + vanishes) this.#forget(resource);
      else if (lot < fails + vanishes + (spot ? reclaimed : 0)) this.end(resource, 'preempted');
      else this.end(resource, 'succeeded');
    });
    return handleOf(key);
  }

  #forget(resource: Resource): void {
    if (resource.gone || !this.isLive(resource.key)) return;
    resource.gone = true;
    resource.endedAtMs = this.options.timeline.now();
    this.options.timeline.note(`${this.options.pool} ${resource.key} vanished`);
  }

  #seen(resource: Resource): boolean {
    return !resource.gone && !this.amnesia && resource.visibleAtMs <= this.options.timeline.now();
  }

  #observe(key: string): Observation {
    const resource = this.resources.get(key);
    if (resource === undefined || !this.#seen(resource)) {
      if (this.amnesia && this.isLive(key)) this.missedAtMs = this.options.timeline.now();
      return { state: 'absent' };
    }
    const handle = handleOf(key);
    const { state, endedAtMs } = resource;
    if (state === 'pending') return { state, handle, message: '' };
    if (state === 'running') {
      if (this.options.chance.is(this.options.faults.notTold)) return { state: 'unknown-status', handle, word: 'Odd' };
      return { state, handle, startedAtMs: undefined };
    }
    const exitCode = state === 'failed' ? 1 : 0;
    return { state: 'ended', handle, outcome: state, exitCode, message: '', startedAtMs: undefined, endedAtMs };
  }

  #drain(key: string): void {
    const { timeline, chance } = this.options;
    const resource = this.resources.get(key);
    if (resource === undefined || resource.gone || chance.is(this.options.jobs().ignoresNotice)) return;
    timeline.after(chance.between(100, 10_000), () => this.end(resource, 'stopped'));
  }

  #release(key: string): void {
    this.releasedAtMs.set(key, this.options.timeline.now());
    this.options.onRelease(key);
    const resource = this.resources.get(key);
    if (resource !== undefined) this.end(resource, 'stopped');
  }

  #list(tag: string): readonly Owned[] {
    return [...this.resources.values()]
      .filter((resource) => resource.tag === tag && this.#seen(resource))
      .map(({ key }) => ({ key, handle: handleOf(key), live: this.isLive(key) }));
  }
}

function handleOf(key: string): Handle {
  return { provider: 'sim', id: key, uid: undefined };
}
