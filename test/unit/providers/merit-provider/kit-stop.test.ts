import { existsSync } from 'node:fs';
import { expect, test } from 'vitest';
import { runKit } from '../../../../providers/merit-provider/src/kit/index.ts';
import { defineProvider, type Provider, ProviderError } from '../../../../providers/provider.ts';
import { MemoryProvider } from '../../../support/memory-provider.ts';

test('a kit that is stopped ends the check under way, closes what it began, and tells it as not exercised', async () => {
  const stop = new AbortController();
  const did: string[] = [];
  const submit: Provider['submit'] = (_spec, signal) =>
    new Promise((_resolve, reject) => {
      signal.addEventListener('abort', () => reject(new ProviderError('transient', 'stopped', { effect: 'unknown' })));
      stop.abort();
    });
  const { kind, capabilities } = new MemoryProvider();
  const definition = defineProvider<never>({
    kind,
    contractVersion: 1,
    capabilities,
    configSchema: {},
    open: async () => Object.assign(new MemoryProvider(), { submit, close: async () => void did.push('close') }),
  });
  const start = async () => ({ config: {}, close: async () => void did.push('end') });
  const options = { backend: { time: 'virtual', start }, only: ['exit-codes'], signal: stop.signal } as const;
  const { checks } = await runKit(definition, options);
  // One world was for the form of the contract.
  expect(did).toEqual(['close', 'end', 'close', 'end']);
  expect(checks.map(({ check, verdict, problem }) => [check, verdict, problem])).toEqual([
    ['exit-codes', 'not_exercised', 'the kit was stopped'],
  ]);
});

const { kind, capabilities } = new MemoryProvider();
const MEMORY = {
  kind,
  contractVersion: 1,
  capabilities,
  configSchema: {},
  open: async () => new MemoryProvider(),
} as const;

test('a backend that does not start leaves no folder behind', async () => {
  const folders: string[] = [];
  const start = async ({ stateDir }: { readonly stateDir: string }) => {
    folders.push(stateDir);
    throw new Error('no such backend');
  };
  const { checks } = await runKit(defineProvider<never>(MEMORY), {
    backend: { time: 'virtual', start },
    only: ['contract'],
  });
  expect(checks.map(({ verdict, problem }) => [verdict, problem])).toEqual([
    ['failed', 'a call throws Error: "no such backend"'],
  ]);
  expect(folders.length).toBeGreaterThan(0);
  expect(folders.filter((folder) => existsSync(folder))).toEqual([]);
});

test('what a check left and cannot be ended is told, and no check passes so', async () => {
  const close = () => Promise.reject(new Error('it runs on'));
  const backend = { time: 'virtual', start: async () => ({ config: {}, close }) } as const;
  const { checks } = await runKit(defineProvider<never>(MEMORY), { backend, only: ['contract'] });
  expect(checks.map(({ verdict, problem }) => [verdict, problem])).toEqual([
    ['failed', 'what the check left could not be ended: it runs on'],
  ]);
});
