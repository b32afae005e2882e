import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { OperatingError } from '../../core/operating-error.ts';
import { isAlive } from '../../platform/processes.ts';
import { clusterProcesses } from '../../providers/ray/cluster-processes.ts';
import { readRecord } from '../../providers/ray/cluster-record.ts';
import { findLocalCluster, type LocalClusterOptions, startLocalCluster } from '../../providers/ray/local-cluster.ts';
import { pythonVenv, rayInstallMissing } from '../support/python.ts';

const missing = rayInstallMissing();
const LOCAL_CLUSTER = new URL('../../providers/ray/local-cluster.ts', import.meta.url).href;

let stateDir: string;
beforeEach(async () => {
  stateDir = await mkdtemp(join(tmpdir(), 'merit-cluster-'));
});
afterEach(async () => {
  await (await findLocalCluster(stateDir))?.stop();
  await rm(stateDir, { recursive: true, force: true });
});

function options(): LocalClusterOptions {
  return { venvDir: pythonVenv(), stateDir, numCpus: 1, fakeGpus: 2 };
}

test('a venv without Ray is a missing part, with the command that mends it', async () => {
  const failure = await startLocalCluster({ ...options(), venvDir: join(stateDir, 'nowhere') }).catch((error) => error);
  expect(failure).toBeInstanceOf(OperatingError);
  expect(failure).toMatchObject({ code: 'part-missing', mend: expect.stringContaining('pip install') });
});

/** A venv whose Ray gives up its first `starts`, as on a machine that is too busy, and is the real one after them. */
async function impatientVenv(starts: number): Promise<string> {
  await mkdir(join(stateDir, 'bin'));
  const script = `#!/bin/sh
    echo begun >> "${stateDir}/starts"
    if [ "$(wc -l < "${stateDir}/starts")" -gt ${starts} ]; then exec "${pythonVenv()}/bin/ray" "$@"; fi
    sleep 0.5
    echo "Exception: The current node timed out during startup. This could happen because some of the raylet failed to startup" >&2
    exit 1\n`;
  await writeFile(join(stateDir, 'bin', 'ray'), script, { mode: 0o755 });
  return stateDir;
}

const begun = async () => (await readFile(join(stateDir, 'starts'), 'utf8')).split('\n').length - 1;

test('a start that Ray gives up is tried three times, and told with what Ray said', async () => {
  const venvDir = await impatientVenv(9);
  const failure = await startLocalCluster({ ...options(), venvDir }).catch((error) => error);
  expect(failure).toMatchObject({ code: 'unreachable', mend: expect.stringContaining('timed out during startup') });
  expect(await begun()).toBe(3);
});

describe.skipIf(missing !== undefined)(`Merit's own Ray${missing === undefined ? '' : ` (${missing})`}`, () => {
  test('outlives a killed Merit, is adopted by the next one, and leaves nothing when stopped', async () => {
    // The first Merit: a process of its own, killed once its Ray runs.
    const program = `
      import { startLocalCluster } from ${JSON.stringify(LOCAL_CLUSTER)};
      await startLocalCluster(${JSON.stringify(options())});
      process.kill(process.pid, 'SIGKILL');`;
    const args = ['--conditions=merit-source', '--input-type=module-typescript', '--eval', program];
    await expect(promisify(execFile)(process.execPath, args)).rejects.toMatchObject({ signal: 'SIGKILL' });
    const record = await readRecord(stateDir);
    if (record?.state !== 'running') throw new Error('no cluster was recorded');

    const cluster = await startLocalCluster(options());
    expect(cluster).toMatchObject({ adopted: true, pid: record.pid, address: record.address });
    expect((await stat(cluster.tokenFile)).mode & 0o777).toBe(0o600);
    const withoutToken = await fetch(`${cluster.address}/api/version`);
    expect(withoutToken.status).toBe(401);

    await cluster.stop();
    expect(isAlive(record.pid, record.startTime)).toBe(false);
    expect(await clusterProcesses(record)).toEqual([]);
    expect(await findLocalCluster(stateDir)).toBeUndefined();
    await expect(stat(record.tempDir)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test('is there though Ray gave up its first start', async () => {
    const cluster = await startLocalCluster({ ...options(), venvDir: await impatientVenv(1) });
    expect(await begun()).toBe(2);
    expect(await findLocalCluster(stateDir)).toMatchObject({ pid: cluster.pid });
    await cluster.stop();
  });

  test('is started anew after its head was killed, its leftovers ended first, and two run side by side', async () => {
    const otherDir = await mkdtemp(join(tmpdir(), 'merit-cluster-'));
    const first = await startLocalCluster(options());
    const other = await startLocalCluster({ ...options(), stateDir: otherDir });
    const record = await readRecord(stateDir);
    if (record?.state !== 'running') throw new Error('no cluster was recorded');
    process.kill(first.pid, 'SIGKILL');
    while (isAlive(record.pid, record.startTime)) await new Promise((resolve) => setTimeout(resolve, 50));

    const second = await startLocalCluster(options());
    expect(second.adopted).toBe(false);
    expect(await clusterProcesses(record)).toEqual([]);
    expect(await readFile(second.tokenFile, 'utf8')).not.toBe(await readFile(other.tokenFile, 'utf8'));
    expect(await findLocalCluster(otherDir)).toMatchObject({ pid: other.pid });
    await second.stop();
    expect(await findLocalCluster(otherDir)).toMatchObject({ pid: other.pid });
    await other.stop();
    await rm(otherDir, { recursive: true, force: true });
  });
});
