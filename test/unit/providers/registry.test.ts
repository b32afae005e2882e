import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { RefusedInput } from '../../../core/refusal.ts';
import { systemClock } from '../../../platform/clock.ts';
import type { AnyDefinition } from '../../../providers/registry.ts';
import { loadProvider, openProvider } from '../../../providers/registry.ts';
import { MemoryProvider } from '../../support/memory-provider.ts';

const CAPABILITIES = { migrate: false, spot: false, topology: false, reserve: false, logs: true, resize: false };
const DEFINITION = { kind: 'acme', contractVersion: 1, capabilities: CAPABILITIES, configSchema: {} };

let folder: string;
let count = 0;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'merit-registry-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** A package whose default export is this, with `open` added. */
async function packageOf(definition: unknown, manifest: object = {}): Promise<string> {
  const path = join(folder, `p${++count}`);
  await mkdir(join(path, 'lib'), { recursive: true });
  await writeFile(join(path, 'package.json'), JSON.stringify({ type: 'module', ...manifest }));
  const text = `export default { ...${JSON.stringify(definition)}, open: async () => ({}) };`;
  for (const file of ['index.js', 'lib/main.js']) await writeFile(join(path, file), text);
  return path;
}

const failureOf = (work: Promise<unknown>) =>
  work.then(
    () => undefined,
    (error: unknown) => error as { code: string; message: string; mend: string },
  );

describe('a provider is loaded', () => {
  test.each([
    ['by its index file', {}],
    ['by what it exports', { exports: './lib/main.js' }],
    ['by what it exports as its root', { exports: { '.': { types: './x.d.ts', default: './lib/main.js' } } }],
    ['by its main file', { main: 'lib/main.js' }],
  ])('from the folder of its package, %s', async (_how, manifest) => {
    expect(await loadProvider(await packageOf(DEFINITION, manifest), 'any')).toMatchObject({ kind: 'acme' });
  });

  test('from its file, and from Merit itself', async () => {
    expect(await loadProvider(join(await packageOf(DEFINITION), 'lib', 'main.js'), 'any')).toMatchObject({
      kind: 'acme',
    });
    expect((await loadProvider('local')).kind).toBe('local');
    expect((await loadProvider('ray')).kind).toBe('ray');
  });

  test.each([
    ['a later contract', { contractVersion: 2 }, 'it was written for contract 2, this Merit has 1', 'update Merit'],
    [
      'an earlier contract',
      { contractVersion: 0 },
      'no longer takes',
      'install a version of the package for contract 1',
    ],
    ['no contract', { contractVersion: undefined }, 'contractVersion: must be', 'docs/providers.md'],
    ['a kind that is no name', { kind: '../x' }, 'kind: must be', 'docs/providers.md'],
    ['a kind that is no text', { kind: 1 }, 'kind: must be', 'docs/providers.md'],
    ['no schema of its config', { configSchema: 'none' }, 'configSchema: must be', 'docs/providers.md'],
    ['capabilities that are none', { capabilities: { logs: 'yes' } }, 'capabilities: must be', 'docs/providers.md'],
  ])('not with %s, and the mend is told', async (_what, change, problem, mend) => {
    const failure = await failureOf(loadProvider(await packageOf({ ...DEFINITION, ...change }), 'any'));
    expect(failure).toMatchObject({ code: 'part-missing', message: expect.stringContaining(problem) });
    expect(failure?.mend).toContain(mend);
  });

  test('not where there is none', async () => {
    for (const kind of [join(folder, 'nowhere'), 'merit-provider-nobody-has', '__proto__', ''])
      expect(await failureOf(loadProvider(kind, 'any')), kind).toMatchObject({ code: 'part-missing' });
  });

  test('from no path that was not named, and never from a URL', async () => {
    const path = await packageOf(DEFINITION);
    const other = await packageOf(DEFINITION);
    expect(await loadProvider(path, [path])).toMatchObject({ kind: 'acme' });
    for (const kind of [
      other,
      `${path}/`,
      `${path}/../p1`,
      `file://${path}/index.js`,
      './index.js',
      'data:text/javascript,export default {}',
    ]) {
      const failure = await failureOf(loadProvider(kind, [path]));
      expect(failure, kind).toMatchObject({
        code: 'part-missing',
        message: expect.stringMatching(/does not load|neither/),
      });
    }
    expect(await failureOf(loadProvider('data:text/javascript,export default {}', 'any'))).toMatchObject({
      code: 'part-missing',
    });
  });
});

describe('a provider is opened', () => {
  const context = { stateDir: tmpdir(), clock: systemClock };
  const definition = (fields: Partial<AnyDefinition>): AnyDefinition =>
    ({ ...DEFINITION, open: async () => new MemoryProvider(), ...fields }) as AnyDefinition;
  const configSchema = {
    type: 'object',
    required: ['url'],
    additionalProperties: false,
    properties: { url: { type: 'string' }, retries: { type: 'integer', minimum: 0 } },
  };

  test('once its config is what its own schema says; all that is wrong is told at once, by the field in the pool’s file', async () => {
    let opened = 0;
    const open = async () => {
      opened++;
      return new MemoryProvider();
    };
    const failure = await failureOf(
      openProvider(definition({ configSchema, open }), { retries: -1, ulr: 'x' }, context),
    );
    expect(failure).toBeInstanceOf(RefusedInput);
    const fields = (failure as unknown as RefusedInput).refusals.map(({ field }) => field);
    expect(fields.sort()).toEqual(['provider.config.retries', 'provider.config.ulr', 'provider.config.url']);
    expect(opened).toBe(0);
    expect(await openProvider(definition({ configSchema, open }), { url: 'http://x' }, context)).toMatchObject({
      kind: 'memory',
    });
  });

  test('within a limit, and one that opens later is closed', async () => {
    vi.useFakeTimers();
    try {
      const late = Object.assign(new MemoryProvider(), { close: vi.fn(async () => {}) });
      let come = (_: MemoryProvider) => {};
      const open = () => new Promise<MemoryProvider>((resolve) => (come = resolve));
      const failure = failureOf(openProvider(definition({ open: open as never }), {}, context));
      await vi.advanceTimersByTimeAsync(30_000);
      expect(await failure).toMatchObject({ code: 'timeout', message: expect.stringContaining('within 30 s') });
      come(late);
      await vi.advanceTimersByTimeAsync(0);
      expect(late.close).toHaveBeenCalledOnce();
    } finally {
      vi.useRealTimers();
    }
  });

  test.each([
    ['lacks a verb', { list: undefined }, 'list'],
    ['has no window', { consistencyWindowMs: 0.5 }, 'consistencyWindowMs'],
    ['waits longer than Merit holds capacity', { consistencyWindowMs: 600_001 }, 'consistencyWindowMs'],
    ['is of another contract', { contractVersion: 2 }, 'contractVersion'],
    ['does not say what it can', { capabilities: {} }, 'capabilities'],
  ])('not where it %s', async (_what, change, named) => {
    const open = async () => Object.assign(new MemoryProvider(), change) as never;
    const failure = await failureOf(openProvider(definition({ open }), {}, context));
    expect(failure).toMatchObject({ code: 'part-missing', message: expect.stringContaining(named) });
  });
});
