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
