import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * What Merit remembers of the Ray it started, on disk, so that a later Merit finds it after a kill -9. Written once before the start
 * (`starting`: only the id, by which leftovers are found) and once after (`running`).
 */
export type ClusterRecord =
  | { readonly state: 'starting'; readonly clusterId: string; readonly tempDir: string }
  | {
      readonly state: 'running';
      readonly clusterId: string;
      readonly tempDir: string;
      readonly pid: number;
      /** As platform/processes.ts says it: the boot, and field 22 of /proc/PID/stat. */
      readonly startTime: string;
      readonly address: string;
    };

const FILE = 'ray-cluster.json';

/** Undefined when there is none, or it is not one of ours. */
export async function readRecord(stateDir: string): Promise<ClusterRecord | undefined> {
  const text = await readFile(join(stateDir, FILE), 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  try {
    const value = JSON.parse(text) as ClusterRecord;
    const named = typeof value.clusterId === 'string' && typeof value.tempDir === 'string';
    if (named && value.state === 'starting') return value;
    const whole = named && value.state === 'running' && Number.isSafeInteger(value.pid) && value.pid > 1;
    return whole && typeof value.startTime === 'string' && typeof value.address === 'string' ? value : undefined;
  } catch {
    return undefined;
  }
}

export async function writeRecord(stateDir: string, record: ClusterRecord): Promise<void> {
  await mkdir(stateDir, { recursive: true, mode: 0o700 });
  const path = join(stateDir, FILE);
  await writeFile(`${path}.new`, JSON.stringify(record), { mode: 0o600, flush: true });
  await rename(`${path}.new`, path);
}

export async function removeRecord(stateDir: string): Promise<void> {
  await rm(join(stateDir, FILE), { force: true });
}
