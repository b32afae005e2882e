import type { Clock } from './clock.ts';
import type { Secret } from './secret.ts';

export interface SecretWatch {
  changed(): void;
  /** It cannot be read, or is not what it should be; what was read before goes on. */
  failed(error: unknown): void;
}

/** A secret as its source has it now: a file that Vault Agent renders, or AWS Secrets Manager. */
export interface RotatingSecret {
  now(): Secret;
  /** Reads it again unless that was done just now; says whether it is another one since `than` was given out. Never throws. */
  renew(than: Secret): Promise<boolean>;
  onChange(listener: () => void): void;
  follow(watch: SecretWatch, signal: AbortSignal): Promise<void>;
}

export interface RotatingSecretOptions {
  readonly initial: Secret;
  /** Reads and checks it; throws where it cannot serve. */
  readonly read: () => Promise<Secret>;
  /** How often it is read without being asked. */
  readonly everyMs: number;
  readonly clock: Clock;
}

/** A source that somebody waits for is asked no more often than this. */
export const RENEW_COOLDOWN_MS = 500;

export function rotatingSecret({ initial, read, everyMs, clock }: RotatingSecretOptions): RotatingSecret {
  const listeners: (() => void)[] = [];
  let current = initial;
  let readAtMs = Number.NEGATIVE_INFINITY;
  let reading: Promise<unknown> | undefined;
  let fault: unknown;

  const again = async (): Promise<void> => {
    readAtMs = clock.now();
    try {
      const next = await read();
      fault = undefined;
      if (next.reveal() === current.reveal()) return;
      current = next;
      for (const listener of listeners) listener();
    } catch (error) {
      fault = error;
    } finally {
      reading = undefined;
    }
  };
  const renewed = async (): Promise<void> => {
    if (reading === undefined && clock.now() - readAtMs < RENEW_COOLDOWN_MS) return;
    reading ??= again();
    await reading;
  };
  return {
    now: () => current,
    renew: async (than) => {
      if (current === than) await renewed();
      return current !== than;
    },
    onChange: (listener) => void listeners.push(listener),
    follow: async (watch, signal) => {
      listeners.push(() => watch.changed());
      let told = '';
      while (!signal.aborted) {
        await clock.sleep(everyMs, signal);
        if (signal.aborted) return;
        await renewed();
        const problem = fault === undefined ? '' : String(fault);
        // The same fault is told once.
        if (problem !== told && fault !== undefined) watch.failed(fault);
        told = problem;
      }
    },
  };
}
