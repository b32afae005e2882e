import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { OperatingError } from '../../core/operating-error.ts';
import { SIMULATORS_FILE, type SimulatorsRecord } from '../../peers/simulators.ts';
import type { Clock } from '../../platform/clock.ts';
import { devSpiffeId } from '../../platform/dev-ca.ts';

const START_TIMEOUT_MS = 20_000;
const POLL_MS = 50;
const STOP_TIMEOUT_MS = 5_000;
const MAX_SAID_BYTES = 4_096;

export interface StartedSimulators {
  readonly urls: { readonly sentinelnet: string; readonly finance: string };
  stop(): Promise<void>;
}

/** Starts the shipped simulators of both peers as one child with the development certificates. It ends when this process does, however that ends. */
export async function startSimulatorProcess(options: {
  readonly stateDir: string;
  readonly certificates: string;
  readonly clock: Clock;
}): Promise<StartedSimulators> {
  const { stateDir, certificates, clock } = options;
  const script = fileURLToPath(new URL('../../peers/simulators.ts', import.meta.url));
  const args = [
    '--conditions=merit-source',
    script,
    '--state',
    stateDir,
    '--tls',
    certificates,
    '--caller',
    devSpiffeId('merit'),
  ];
  // A group of its own: Ctrl-C on the terminal ends the server first, which then ends it.
  const child = spawn(process.execPath, args, { stdio: ['pipe', 'ignore', 'pipe'], detached: true });
  child.stdin.on('error', () => {});
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => {
    said = (said + chunk.toString('utf8')).slice(-MAX_SAID_BYTES);
  });
  const exited = once(child, 'exit');
  const deadline = clock.now() + START_TIMEOUT_MS;
  for (;;) {
    const record = await readRecord(stateDir);
    if (record !== undefined && record.pid === child.pid) {
      return {
        urls: { sentinelnet: record.sentinelnet.url, finance: record.finance.url },
        stop: async () => {
          child.stdin.end();
          const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
          if (child.exitCode === null && child.signalCode === null) await exited;
          clearTimeout(timer);
        },
      };
    }
    if (child.exitCode !== null || child.signalCode !== null || clock.now() > deadline) {
      child.kill('SIGKILL');
      throw new OperatingError('part-missing', 'safe', 'starting the simulators of SentinelNet and Finance', {
        cause: said.trim() || 'they did not come up in time',
      });
    }
    await clock.sleep(POLL_MS);
  }
}

async function readRecord(stateDir: string): Promise<SimulatorsRecord | undefined> {
  try {
    return JSON.parse(await readFile(join(stateDir, SIMULATORS_FILE), 'utf8')) as SimulatorsRecord;
  } catch {
    return undefined;
  }
}
