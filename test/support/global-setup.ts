import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { TestProject } from 'vitest/node';
import type { EmbeddedPostgres } from '../../platform/embedded-postgres/start.ts';
import { startTestPostgres } from './postgres.ts';
import { rayInstallMissing } from './python.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** URLs of the run's Postgres; `testDatabase` makes a database of its own from them. */
    postgresUrls: EmbeddedPostgres['urls'];
  }
}

/** The parts that a whole test run shares. Each starter provides what tests need of it and returns how to end it. */
const STARTERS: readonly ((project: TestProject) => Promise<() => Promise<void>>)[] = [
  async (project) => {
    const { postgres, stop } = await startTestPostgres();
    project.provide('postgresUrls', postgres.urls);
    return stop;
  },
  // One Ray for the whole of `npm test`, if Python is there; a single test file starts its own when it needs one.
  async () => {
    if (process.env.MERIT_SHARE_RAY !== '1' || rayInstallMissing() !== undefined) return async () => {};
    const ray = await startRayProcess();
    process.env.MERIT_TEST_RAY = ray.record;
    return async () => {
      delete process.env.MERIT_TEST_RAY;
      await ray.stop();
    };
  },
];

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const stops: (() => Promise<void>)[] = [];
  const teardown = async () => {
    for (const stop of stops.splice(0).toReversed()) await stop();
  };
  try {
    for (const start of STARTERS) stops.push(await start(project));
  } catch (error) {
    await teardown();
    throw error;
  }
  return teardown;
}

/** The cluster's keeper is a process of its own: this file runs inside vite, where workspace packages have no sources. It ends with its stdin. */
async function startRayProcess(): Promise<{ readonly record: string; stop(): Promise<void> }> {
  const script = fileURLToPath(new URL('./ray-process.ts', import.meta.url));
  const child = spawn(process.execPath, ['--conditions=merit-source', script], {
    stdio: ['pipe', 'pipe', 'inherit'],
    detached: true,
  });
  child.stdin.on('error', () => {});
  const ended = once(child, 'exit');
  const record = await Promise.race([
    once(child.stdout, 'data').then(([line]) => String(line).trim()),
    ended.then(() => undefined),
  ]);
  if (record === undefined) throw new Error('the Ray of this test run did not start');
  return {
    record,
    stop: async () => {
      child.stdin.end();
      await ended;
    },
  };
}
