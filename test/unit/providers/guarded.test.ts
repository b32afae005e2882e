import { afterEach, describe, expect, test, vi } from 'vitest';
import { guarded } from '../../../providers/guarded.ts';
import { type Provider, ProviderError } from '../../../providers/provider.ts';
import { MemoryProvider } from '../../support/memory-provider.ts';

const signal = new AbortController().signal;
const HANDLE = { provider: 'memory', id: 'm-1', uid: undefined };

function providerWith(verbs: Partial<Provider>): Provider {
  return guarded(Object.assign(new MemoryProvider(), verbs));
}

const failureOf = (work: Promise<unknown>) =>
  work.then(
    () => undefined,
    (error: unknown) => error as ProviderError,
  );
const never = () => new Promise<never>(() => {});
const throwing = (error: unknown) => async () => {
  throw error;
};

afterEach(() => {
  vi.useRealTimers();
});

describe('whatever a package does', () => {
  test('what it throws is a ProviderError: of a verb that changes something with an unknown effect, of another with none', async () => {
    const broken = throwing(new TypeError('x is \u001b[31mundefined'));
    const provider = providerWith({ submit: broken, release: broken, observe: broken });
    for (const work of [provider.submit({} as never, signal), provider.release('m-1', signal)]) {
      const failure = await failureOf(work);
      expect(failure).toBeInstanceOf(ProviderError);
      expect(failure).toMatchObject({
        code: 'transient',
        effect: 'unknown',
        message: expect.stringContaining('x is undefined'),
      });
    }
    expect(await failureOf(provider.observe('m-1', signal))).toMatchObject({ code: 'transient', effect: 'none' });
    const odd = providerWith({ list: throwing('nonsense') });
    expect(await failureOf(odd.list('here', signal))).toBeInstanceOf(ProviderError);
  });

  test('offers that are none are not told as prices', async () => {
    const offer = { flavour: 'a', spot: false, currency: 'USD', centsPerUnitHour: 250n };
    expect(await providerWith({ offers: async () => [offer] }).offers(signal)).toEqual([offer]);
    for (const odd of [
      { ...offer, centsPerUnitHour: 250 },
      { ...offer, flavour: undefined },
    ]) {
      const provider = providerWith({ offers: async () => [offer, odd as never] });
      expect(await failureOf(provider.offers(signal))).toMatchObject({ code: 'transient', effect: 'none' });
    }
  });

  test('amounts that nobody can reckon with are no capacity', async () => {
    const one = { flavour: 'a', totalGpuMilli: 4000n, freeGpuMilli: 0n, totalCpuMilli: 8000n, freeCpuMilli: 8000n };
    expect(await providerWith({ capacity: async () => [one] }).capacity(signal)).toEqual([one]);
    for (const odd of [{ freeGpuMilli: -1n }, { freeCpuMilli: 8001n }, { totalGpuMilli: 4000 }, { flavour: 7 }]) {
      const provider = providerWith({ capacity: async () => [one, { ...one, ...odd } as never] });
      expect(await failureOf(provider.capacity(signal))).toMatchObject({ code: 'transient', effect: 'none' });
    }
  });

  test('a time that no date can be was not said', async () => {
    const ended = { state: 'ended', handle: HANDLE, outcome: 'succeeded', exitCode: 0, message: '' } as const;
    const seen = async (startedAtMs: unknown, endedAtMs: unknown) =>
      providerWith({ observe: async () => ({ ...ended, startedAtMs, endedAtMs }) as never }).observe('m-1', signal);
    expect(await seen(1_764_000_000_000, 1_764_000_000_500)).toMatchObject({
      startedAtMs: 1_764_000_000_000,
      endedAtMs: 1_764_000_000_500,
    });
    expect(await seen(Number.NaN, '2026')).toMatchObject({ startedAtMs: undefined, endedAtMs: undefined });
    expect(await seen(9e15, 0.5)).toMatchObject({ startedAtMs: undefined, endedAtMs: undefined });
    const running = async () => ({ state: 'running', handle: HANDLE, startedAtMs: Number.POSITIVE_INFINITY }) as const;
    expect(await providerWith({ observe: running }).observe('m-1', signal)).toEqual({
      state: 'running',
      handle: HANDLE,
      startedAtMs: undefined,
    });
  });

  test('a ProviderError of another copy of the contract keeps its code, effect and time; one with a code of its own is none', async () => {
    class ProviderErrorOfACopy extends Error {
      override name = 'ProviderError';
      readonly effect = 'none';
      readonly retryAfterMs = 700;
      readonly code: string;
      constructor(code: string) {
        super('said\u0007so');
        this.code = code;
      }
    }
    const provider = providerWith({ submit: throwing(new ProviderErrorOfACopy('no_capacity')) });
    const failure = await failureOf(provider.submit({} as never, signal));
    expect(failure).toBeInstanceOf(ProviderError);
    expect(failure).toMatchObject({ code: 'no_capacity', effect: 'none', retryAfterMs: 700, message: 'said so' });
    const other = providerWith({ submit: throwing(new ProviderErrorOfACopy('tired')) });
    expect(await failureOf(other.submit({} as never, signal))).toMatchObject({ code: 'transient', effect: 'unknown' });
  });

  test('a verb that does not heed its signal is left behind five seconds after it aborted', async () => {
    vi.useFakeTimers();
    const provider = providerWith({ release: never, list: never });
    const stop = new AbortController();
    const work = [
      failureOf(provider.release('m-1', stop.signal)),
      failureOf(provider.list('here', AbortSignal.abort())),
    ];
    stop.abort();
    await vi.advanceTimersByTimeAsync(5_000);
    expect(await Promise.all(work)).toMatchObject([
      { code: 'transient', effect: 'unknown' },
      { code: 'transient', effect: 'none' },
    ]);
    expect(vi.getTimerCount()).toBe(0);
  });

  test('answers that are none of the contract’s are told as transient, and nothing is concluded from them', async () => {
    const ended = { state: 'ended', handle: HANDLE, outcome: 'finished', exitCode: 0, message: '' };
    for (const odd of [undefined, null, {}, { state: 'gone' }, 'running', { state: 'running', handle: null }, ended]) {
      const provider = providerWith({ observe: async () => odd as never, list: async () => [odd] as never });
      expect(await failureOf(provider.observe('m-1', signal))).toMatchObject({ code: 'transient', effect: 'none' });
      expect(await failureOf(provider.list('here', signal))).toMatchObject({ code: 'transient', effect: 'none' });
    }
    for (const odd of [undefined, null, 'job-1', { provider: 'memory' }]) {
      const provider = providerWith({ submit: async () => odd as never });
      expect(await failureOf(provider.submit({} as never, signal))).toMatchObject({
        code: 'transient',
        effect: 'unknown',
        message: 'submit tells a handle without provider or id',
      });
    }
  });

  test('its texts are bounded and clean, and a log has at most what was asked for', async () => {
    const long = `\u001b[31m${'grün\n'.repeat(5000)}`;
    const ended = { state: 'ended', handle: HANDLE, outcome: 'failed', exitCode: 1, message: long } as const;
    const provider = providerWith({
      observe: async (key) =>
        key === 'm-1'
          ? { ...ended, startedAtMs: undefined, endedAtMs: undefined }
          : { state: 'unknown-status', handle: HANDLE, word: long },
      logs: async () => Buffer.alloc(100),
    });
    const seen = await provider.observe('m-1', signal);
    expect(seen.state === 'ended' && Buffer.byteLength(seen.message)).toBeLessThanOrEqual(4096);
    expect(JSON.stringify(seen)).not.toMatch(/\\u001b|\\n/);
    const odd = await provider.observe('m-2', signal);
    expect(odd.state === 'unknown-status' && odd.word.length).toBe(64);
    expect(await provider.logs('m-1', 0, 7, signal)).toHaveLength(7);
  });
});

test('every call is told by kind, verb and how it ended', async () => {
  const told: (readonly [string, string, string])[] = [];
  const seconds: number[] = [];
  const provider = guarded(
    Object.assign(new MemoryProvider(), {
      offers: throwing(new ProviderError('auth', 'no')),
      submit: throwing(new Error('odd')),
    }),
    {
      call: (kind, verb, outcome, took) => {
        told.push([kind, verb, outcome]);
        seconds.push(took);
      },
    },
  );
  await provider.capacity(signal);
  await provider.offers(signal).catch(() => {});
  await provider.submit({} as never, signal).catch(() => {});
  await provider.list('here', signal);
  expect(told).toEqual([
    ['memory', 'capacity', 'ok'],
    ['memory', 'offers', 'auth'],
    ['memory', 'submit', 'transient'],
    ['memory', 'list', 'ok'],
  ]);
  expect(seconds.every((took) => took >= 0 && took < 60)).toBe(true);
});
