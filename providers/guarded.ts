import {
  type AttemptSpec,
  cleanMessage,
  type Effect,
  type EndOutcome,
  type FlavourCapacity,
  type Handle,
  isProviderError,
  type Observation,
  type Offer,
  type Owned,
  type Provider,
  ProviderError,
  type ProviderErrorCode,
  type Usage,
  WORD_LIMIT,
} from './provider.ts';

/** What a provider may take to answer after its signal aborted; then Merit goes on without it. */
const ABORT_GRACE_MS = 5_000;
const STATES: readonly Observation['state'][] = ['pending', 'running', 'ended', 'absent', 'unknown-status'];
/** The last moment of a Date. */
const LAST_MS = 8.64e15;
const OUTCOMES: readonly EndOutcome[] = ['succeeded', 'failed', 'stopped', 'preempted'];

/** Hears of every call of a provider. */
export interface ProviderWatch {
  /** `outcome`: an error's code, where it is none. */
  call(kind: string, verb: string, outcome: 'ok' | ProviderErrorCode, seconds: number): void;
}

/**
 * A provider that keeps to the contract whatever the package under it does: what it throws is a ProviderError of ours, its texts are
 * bounded and clean, and a verb that does not heed its signal is left behind. So a mistake in a package costs its pool, never the engine.
 */
export function guarded(provider: Provider, watch?: ProviderWatch): Provider {
  const { kind } = provider;
  const heard = async <T>(verb: string, ifOdd: Effect, signal: AbortSignal, work: () => Promise<T>) => {
    const startedMs = performance.now();
    const told = (outcome: 'ok' | ProviderErrorCode) =>
      watch?.call(kind, verb, outcome, (performance.now() - startedMs) / 1000);
    try {
      const answer = await bounded(verb, ifOdd, signal, work);
      told('ok');
      return answer;
    } catch (error) {
      told((error as ProviderError).code);
      throw error;
    }
  };
  const reads = <T>(verb: string, signal: AbortSignal, work: () => Promise<T>) => heard(verb, 'none', signal, work);
  const changes = <T>(verb: string, signal: AbortSignal, work: () => Promise<T>) =>
    heard(verb, 'unknown', signal, work);
  return {
    kind,
    contractVersion: provider.contractVersion,
    capabilities: provider.capabilities,
    consistencyWindowMs: provider.consistencyWindowMs,
    capacity: (signal) => reads('capacity', signal, async () => counted(await provider.capacity(signal))),
    offers: (signal) => reads('offers', signal, async () => priced(await provider.offers(signal))),
    submit: (spec: AttemptSpec, signal) =>
      changes('submit', signal, async () => held('submit', 'unknown', await provider.submit(spec, signal))),
    observe: (key, signal, known) =>
      reads('observe', signal, async () => plain(await provider.observe(key, signal, known))),
    ...(provider.extend === undefined
      ? {}
      : {
          extend: (key, leaseMs, signal) =>
            changes('extend', signal, async () => provider.extend?.(key, leaseMs, signal)),
        }),
    ...(provider.usage === undefined
      ? {}
      : { usage: (key, signal) => reads('usage', signal, async () => measured(await provider.usage?.(key, signal))) }),
    drain: (key, deadlineMs, signal) => changes('drain', signal, () => provider.drain(key, deadlineMs, signal)),
    release: (key, signal) => changes('release', signal, () => provider.release(key, signal)),
    list: (tag, signal) => reads('list', signal, async () => wellFormed(await provider.list(tag, signal))),
    logs: (key, fromByte, maxBytes, signal) =>
      reads('logs', signal, async () => (await provider.logs(key, fromByte, maxBytes, signal)).subarray(0, maxBytes)),
    close: () => provider.close(),
  };
}

async function bounded<T>(verb: string, ifOdd: Effect, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  let onAbort = () => {};
  const leftBehind = new Promise<never>((_resolve, reject) => {
    const giveUp = () => reject(new ProviderError('transient', `${verb} does not heed its signal`, { effect: ifOdd }));
    onAbort = () => {
      timer = setTimeout(giveUp, ABORT_GRACE_MS);
    };
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
  });
  try {
    return await Promise.race([work(), leftBehind]);
  } catch (error) {
    throw ours(verb, ifOdd, error);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', onAbort);
  }
}

function ours(verb: string, ifOdd: Effect, error: unknown): ProviderError {
  const text = cleanMessage(error instanceof Error ? error.message : String(error));
  if (!isProviderError(error)) {
    const message = `${verb} threw what is no ProviderError: ${text}`;
    return new ProviderError('transient', cleanMessage(message), { effect: ifOdd, cause: error });
  }
  if (error instanceof ProviderError && error.message === text) return error;
  const { code, effect, retryAfterMs } = error;
  return new ProviderError(code, text, {
    effect,
    cause: error,
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
}

/** One entry that is none would be lost among the others: then nothing is concluded from the list. */
function wellFormed(listed: readonly Owned[]): readonly Owned[] {
  const isEntry = (one: Owned) => typeof one.key === 'string' && typeof one.live === 'boolean' && isHandle(one.handle);
  if (!listed.every(isEntry)) throw new ProviderError('transient', 'list has an entry without key, handle or live');
  return listed;
}

/** Amounts that are none would be reckoned with, and stored. */
function counted(told: readonly FlavourCapacity[]): readonly FlavourCapacity[] {
  const fits = (free: bigint, total: bigint) =>
    typeof total === 'bigint' && typeof free === 'bigint' && free >= 0n && free <= total;
  const isCapacity = (one: FlavourCapacity) =>
    typeof one.flavour === 'string' &&
    fits(one.freeGpuMilli, one.totalGpuMilli) &&
    fits(one.freeCpuMilli, one.totalCpuMilli);
  if (!told.every(isCapacity))
    throw new ProviderError(
      'transient',
      'capacity has a flavour without a name, or whose free amounts are not 0 to its total',
    );
  return told;
}

/** Amounts that are none were not said. */
function measured(told: Usage | undefined): Usage | undefined {
  if (told === undefined) return undefined;
  const names = ['cpuMs', 'memoryBytes', 'gpuMilli', 'gpuMemoryBytes'] as const;
  const isAmount = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0;
  return Object.fromEntries(names.filter((name) => isAmount(told[name])).map((name) => [name, told[name]]));
}

/** Milliseconds since the epoch that a date can be; anything else was not said. */
function moment(ms: number | undefined): number | undefined {
  return Number.isSafeInteger(ms) && Math.abs(ms as number) <= LAST_MS ? ms : undefined;
}

/** People and other code reckon with them as the contract has them. */
function priced(offers: readonly Offer[]): readonly Offer[] {
  const isOffer = (one: Offer) =>
    typeof one.flavour === 'string' && typeof one.currency === 'string' && typeof one.centsPerUnitHour === 'bigint';
  if (!offers.every(isOffer)) throw new ProviderError('transient', 'offers has one without flavour, currency or price');
  return offers;
}

function isHandle(handle: Handle): boolean {
  return typeof handle?.provider === 'string' && typeof handle.id === 'string';
}

function held(verb: string, effect: Effect, handle: Handle): Handle {
  if (isHandle(handle)) return handle;
  throw new ProviderError('transient', `${verb} tells a handle without provider or id`, { effect });
}

function plain(seen: Observation): Observation {
  if (!STATES.includes(seen.state))
    throw new ProviderError('transient', 'observe tells a state that the contract has not');
  if (seen.state !== 'absent') held('observe', 'none', seen.handle);
  switch (seen.state) {
    case 'ended':
      if (!OUTCOMES.includes(seen.outcome))
        throw new ProviderError('transient', 'observe tells an outcome that the contract has not');
      return {
        ...seen,
        startedAtMs: moment(seen.startedAtMs),
        endedAtMs: moment(seen.endedAtMs),
        message: cleanMessage(seen.message),
      };
    case 'pending':
      return { ...seen, message: cleanMessage(seen.message) };
    case 'unknown-status':
      return { ...seen, word: cleanMessage(seen.word).slice(0, WORD_LIMIT) };
    case 'running':
      return { ...seen, startedAtMs: moment(seen.startedAtMs) };
    case 'absent':
      return seen;
  }
}
