import {
  type AttemptSpec,
  type Handle,
  type Observation,
  type Owned,
  PROVIDER_CONTRACT_VERSION,
  type Provider,
  type ProviderError,
  type Usage,
} from '../../providers/provider.ts';

interface MemoryJob {
  readonly spec: AttemptSpec;
  state: 'pending' | 'running' | 'succeeded' | 'failed' | 'stopped';
}

/** A provider whose jobs are entries of a map: for tests of what Merit does, never shipped. */
export class MemoryProvider implements Provider {
  readonly kind = 'memory';
  readonly contractVersion = PROVIDER_CONTRACT_VERSION;
  readonly capabilities = { migrate: false, spot: false, topology: false, reserve: false, logs: true, resize: false };
  readonly consistencyWindowMs = 0;
  readonly jobs = new Map<string, MemoryJob>();
  /** What it tells of what an attempt uses. */
  readonly used = new Map<string, Usage>();
  /** How often each key was submitted. */
  readonly submits: string[] = [];
  /** What it no longer knows went down with it. */
  reborn = false;
  /** Thrown by every verb until cleared. */
  down: ProviderError | undefined;
  /** Runs before a submit takes effect, and after it did and before its reply. */
  beforeSubmit: ((spec: AttemptSpec) => Promise<void> | void) | undefined;
  afterSubmit: ((spec: AttemptSpec) => Promise<void> | void) | undefined;

  get live(): readonly string[] {
    return [...this.jobs].filter(([, job]) => job.state === 'pending' || job.state === 'running').map(([key]) => key);
  }

  end(key: string, state: 'succeeded' | 'failed' | 'stopped'): void {
    const job = this.jobs.get(key);
    if (job === undefined) throw new Error(`no job ${key}`);
    job.state = state;
  }

  #check(): void {
    if (this.down !== undefined) throw this.down;
  }

  async capacity() {
    this.#check();
    return [];
  }

  async offers() {
    this.#check();
    return [];
  }

  async submit(spec: AttemptSpec): Promise<Handle> {
    this.#check();
    this.submits.push(spec.key);
    await this.beforeSubmit?.(spec);
    if (!this.jobs.has(spec.key)) this.jobs.set(spec.key, { spec, state: 'running' });
    await this.afterSubmit?.(spec);
    return this.#handle(spec.key);
  }

  #handle(key: string): Handle {
    return { provider: this.kind, id: key, uid: undefined };
  }

  async observe(key: string, _signal?: AbortSignal, known?: Handle): Promise<Observation> {
    this.#check();
    const job = this.jobs.get(key);
    if (job === undefined)
      return this.reborn && known !== undefined ? { state: 'absent', certain: true } : { state: 'absent' };
    const handle = this.#handle(key);
    if (job.state === 'pending') return { state: 'pending', handle, message: '' };
    if (job.state === 'running') return { state: 'running', handle, startedAtMs: undefined };
    return {
      state: 'ended',
      handle,
      outcome: job.state,
      exitCode: job.state === 'failed' ? 1 : 0,
      message: '',
      startedAtMs: undefined,
      endedAtMs: undefined,
    };
  }

  async drain(key: string): Promise<void> {
    this.#check();
    const job = this.jobs.get(key);
    if (job?.state === 'running') job.state = 'stopped';
  }

  async release(key: string): Promise<void> {
    this.#check();
    const job = this.jobs.get(key);
    if (job !== undefined && (job.state === 'running' || job.state === 'pending')) job.state = 'stopped';
  }

  async list(tag: string): Promise<readonly Owned[]> {
    this.#check();
    return [...this.jobs]
      .filter(([, job]) => job.spec.tag === tag)
      .map(([key, job]) => ({
        key,
        handle: this.#handle(key),
        live: job.state === 'running' || job.state === 'pending',
      }));
  }

  async logs(key: string, fromByte: number, maxBytes: number): Promise<Uint8Array> {
    this.#check();
    return Buffer.from(`log of ${key}\n`).subarray(fromByte, fromByte + maxBytes);
  }

  async usage(key: string): Promise<Usage | undefined> {
    this.#check();
    return this.used.get(key);
  }

  async close(): Promise<void> {}
}
