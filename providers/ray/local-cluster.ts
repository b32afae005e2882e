import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { access, constants, mkdir, mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RayJobClient, RayJobError } from 'ray-job-submission-client';
import { OperatingError } from '../../core/operating-error.ts';
import { systemClock } from '../../platform/clock.ts';
import { isAlive, processStart } from '../../platform/processes.ts';
import { CLUSTER_MARK, endCluster } from './cluster-processes.ts';
import { type ClusterRecord, readRecord, removeRecord, writeRecord } from './cluster-record.ts';
import { freePorts } from './free-ports.ts';

export interface LocalClusterOptions {
  /** A Python environment with ray[default]; its bin folder comes first on the PATH of the head and of every job. */
  readonly venvDir: string;
  /** Merit's own folder for this cluster: the record, the token (0600) and the head's output. */
  readonly stateDir: string;
  /** Default: a free one. */
  readonly dashboardPort?: number;
  /** Where further nodes join. Default: a free one. */
  readonly gcsPort?: number;
  readonly numCpus: number;
  /** GPUs that Ray counts without there being any; jobs are placed and limited by them as by real ones. */
  readonly fakeGpus: number;
  /** Custom resources, as {"pool_a": 2}. */
  readonly resources?: Readonly<Record<string, number>>;
  /** Until jobs can be submitted; 10–20 s measured on two busy cores. */
  readonly startTimeoutMs?: number;
}

export interface LocalCluster {
  readonly address: string;
  readonly tokenFile: string;
  readonly pid: number;
  /** True: it ran already; an earlier Merit started it. */
  readonly adopted: boolean;
  /** Ends it and all it started, and removes its temporary folder. Throws OperatingError. */
  stop(): Promise<void>;
}

type Running = Extract<ClusterRecord, { readonly state: 'running' }>;

const START_TIMEOUT_MS = 120_000;
/** A cluster found by its record has been up for long, or it is broken. */
const ADOPT_TIMEOUT_MS = 15_000;
const POLL_MS = 300;
/** Ray gives up a start that is slow (its agents have 15 s, ray-project/ray#65983): on a busy machine the next one gets there. */
const STARTS = 3;
const GAVE_UP = 'The current node timed out during startup';
const OBJECT_STORE_BYTES = 80_000_000;
/** Ray puts sockets below it; with its own 64 characters the path has to stay below the 107 that AF_UNIX takes. */
const TEMP_PATH_LIMIT = 30;
const OUTPUT_TAIL = 600;
const PORTS = 9;
/** Ray takes 127.0.0.1 for a mistake and listens on the machine's outer address instead; on 127.0.0.2 it stays inside. Linux has it. */
export const HEAD_IP = process.platform === 'linux' ? '127.0.0.2' : '127.0.0.1';

/**
 * Merit's own Ray on this machine: adopts the one that `stateDir` records if it still runs and answers to our token, else starts one
 * and returns when jobs can be submitted. Its gRPC ports listen beyond loopback whatever one asks, so it always has a token. Throws
 * OperatingError (`part-missing` without Ray in the venv).
 */
export async function startLocalCluster(options: LocalClusterOptions): Promise<LocalCluster> {
  const tokenFile = await ensureToken(options.stateDir);
  const earlier = await readRecord(options.stateDir);
  if (earlier !== undefined) {
    if (earlier.state === 'running' && (await canAdopt(earlier, tokenFile)))
      return clusterOf(options.stateDir, earlier, tokenFile, true);
    await discard(options.stateDir, earlier);
  }
  await access(join(options.venvDir, 'bin', 'ray'), constants.X_OK).catch((cause) => {
    const mend = `install it with: ${join(options.venvDir, 'bin', 'python')} -m pip install "ray[default]==2.60.0"`;
    throw new OperatingError('part-missing', 'never', `looking for Ray in ${options.venvDir}`, { cause, mend });
  });
  for (let left = STARTS - 1; ; left--) {
    try {
      return clusterOf(options.stateDir, await start(options, tokenFile), tokenFile, false);
    } catch (error) {
      if (left === 0 || !(await outputOf(options.stateDir)).includes(GAVE_UP)) throw error;
    }
  }
}

/** The cluster that `stateDir` records, if it runs and answers to our token; starts nothing. */
export async function findLocalCluster(stateDir: string): Promise<LocalCluster | undefined> {
  const record = await readRecord(stateDir);
  const tokenFile = tokenPath(stateDir);
  if (record?.state !== 'running' || !(await canAdopt(record, tokenFile))) return undefined;
  return clusterOf(stateDir, record, tokenFile, true);
}

function clusterOf(stateDir: string, record: Running, tokenFile: string, adopted: boolean): LocalCluster {
  return { address: record.address, tokenFile, pid: record.pid, adopted, stop: () => discard(stateDir, record) };
}

async function discard(stateDir: string, record: ClusterRecord): Promise<void> {
  await endCluster(record);
  await rm(record.tempDir, { recursive: true, force: true });
  await removeRecord(stateDir);
}

async function canAdopt(record: Running, tokenFile: string): Promise<boolean> {
  if (!isAlive(record.pid, record.startTime)) return false;
  try {
    await ready(record, tokenFile, ADOPT_TIMEOUT_MS);
    return true;
  } catch (error) {
    if (error instanceof OperatingError) return false;
    throw error;
  }
}

function tokenPath(stateDir: string): string {
  return join(stateDir, 'ray-token');
}

/** One token for the folder's life, so that whoever was given the file's path keeps working across restarts. */
async function ensureToken(stateDir: string): Promise<string> {
  await mkdir(stateDir, { recursive: true, mode: 0o700 });
  const path = tokenPath(stateDir);
  try {
    await writeFile(path, randomBytes(32).toString('hex'), { mode: 0o600, flag: 'wx', flush: true });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
  return path;
}

async function start(options: LocalClusterOptions, tokenFile: string): Promise<Running> {
  const root = tmpdir().length <= TEMP_PATH_LIMIT - 10 ? tmpdir() : '/tmp';
  const tempDir = await mkdtemp(join(root, 'mray-'));
  const clusterId = randomBytes(12).toString('hex');
  await writeRecord(options.stateDir, { state: 'starting', clusterId, tempDir });
  let record: ClusterRecord = { state: 'starting', clusterId, tempDir };
  try {
    const ports = await freePorts(PORTS);
    const dashboardPort = options.dashboardPort ?? ports[0] ?? 0;
    const pid = await spawnHead(options, { tokenFile, tempDir, clusterId, dashboardPort, ports });
    const startTime = processStart(pid);
    if (startTime === undefined) throw await startFailure(options.stateDir, 'it ended at once');
    record = { state: 'running', clusterId, tempDir, pid, startTime, address: `http://127.0.0.1:${dashboardPort}` };
    await writeRecord(options.stateDir, record);
    await ready(record, tokenFile, options.startTimeoutMs ?? START_TIMEOUT_MS);
    return record;
  } catch (error) {
    await discard(options.stateDir, record);
    throw error instanceof OperatingError ? await withOutput(options.stateDir, error) : error;
  }
}

interface HeadPlace {
  readonly tokenFile: string;
  readonly tempDir: string;
  readonly clusterId: string;
  readonly dashboardPort: number;
  readonly ports: readonly number[];
}

/** Detached, in a session of its own: it outlives Merit, and a Ctrl-C meant for Merit does not reach it. */
async function spawnHead(options: LocalClusterOptions, place: HeadPlace): Promise<number> {
  const output = await open(outputPath(options.stateDir), 'w', 0o600);
  try {
    const child = spawn(join(options.venvDir, 'bin', 'ray'), headArguments(options, place), {
      detached: true,
      stdio: ['ignore', output.fd, output.fd],
      cwd: place.tempDir,
      env: headEnvironment(options, place),
    });
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', reject);
    });
    child.unref();
    return child.pid ?? 0;
  } catch (cause) {
    throw new OperatingError('part-missing', 'never', 'starting Ray', { cause });
  } finally {
    await output.close();
  }
}

function headArguments(options: LocalClusterOptions, place: HeadPlace): string[] {
  const [, gcs, agentHttp, agentGrpc, runtimeEnv, metrics, , , rayClient] = place.ports;
  return [
    'start',
    '--head',
    '--block',
    '--disable-usage-stats',
    '--log-color=false',
    `--temp-dir=${place.tempDir}`,
    `--node-ip-address=${HEAD_IP}`,
    '--dashboard-host=127.0.0.1',
    `--dashboard-port=${place.dashboardPort}`,
    `--port=${options.gcsPort ?? gcs}`,
    `--dashboard-agent-listen-port=${agentHttp}`,
    `--dashboard-agent-grpc-port=${agentGrpc}`,
    `--runtime-env-agent-port=${runtimeEnv}`,
    `--metrics-export-port=${metrics}`,
    `--ray-client-server-port=${rayClient}`,
    `--num-cpus=${options.numCpus}`,
    `--num-gpus=${options.fakeGpus}`,
    `--object-store-memory=${OBJECT_STORE_BYTES}`,
    ...(options.resources === undefined ? [] : [`--resources=${JSON.stringify(options.resources)}`]),
  ];
}

function headEnvironment(options: LocalClusterOptions, place: HeadPlace): NodeJS.ProcessEnv {
  return {
    PATH: `${join(options.venvDir, 'bin')}:/usr/local/bin:/usr/bin:/bin`,
    HOME: place.tempDir,
    LANG: 'C.UTF-8',
    // Ray reads job logs as text: without this, a C locale would make it fail on the first umlaut.
    PYTHONUTF8: '1',
    RAY_AUTH_MODE: 'token',
    RAY_AUTH_TOKEN_PATH: place.tokenFile,
    RAY_USAGE_STATS_ENABLED: '0',
    // How late the nodes' use is known: 5 s otherwise.
    AUTOSCALER_UPDATE_INTERVAL_S: '1',
    // Fixed ports otherwise, which a second cluster would find taken.
    AUTOSCALER_METRIC_PORT: String(place.ports[6]),
    DASHBOARD_METRIC_PORT: String(place.ports[7]),
    [CLUSTER_MARK]: place.clusterId,
  };
}

/** Until the dashboard answers to our token, its job agent takes submissions and it knows its nodes: the version alone answers ~6 s too early. */
async function ready(record: Running, tokenFile: string, timeoutMs: number): Promise<void> {
  const deadlineMs = performance.now() + timeoutMs;
  const token = () => readFile(tokenFile, 'utf8');
  const client = new RayJobClient({
    address: record.address,
    token,
    timeoutMs: 5_000,
    submitTimeoutMs: 15_000,
    getAttempts: 1,
  });
  try {
    let problem: unknown;
    for (let answered = false; ; ) {
      try {
        if (!answered) await client.version();
        answered = true;
        await client.waitForAgent();
        // Known some seconds later still, and without them nothing can be said to fit.
        if ((await client.nodes()).length > 0) return;
      } catch (error) {
        if (!(error instanceof RayJobError)) throw error;
        if (error.code === 'auth')
          throw new OperatingError('auth', 'never', 'asking the local Ray: it does not know our token');
        problem = error;
      }
      const doing = 'waiting for the local Ray to take jobs';
      if (!isAlive(record.pid, record.startTime)) {
        throw new OperatingError('unreachable', 'safe', `${doing}: it ended`);
      }
      if (performance.now() >= deadlineMs) throw new OperatingError('timeout', 'safe', doing, { cause: problem });
      await systemClock.sleep(POLL_MS);
    }
  } finally {
    client.close();
  }
}

function outputPath(stateDir: string): string {
  return join(stateDir, 'ray-head.log');
}

async function outputOf(stateDir: string): Promise<string> {
  return readFile(outputPath(stateDir), 'utf8').catch(() => '');
}

async function startFailure(stateDir: string, problem: string): Promise<OperatingError> {
  return withOutput(stateDir, new OperatingError('unreachable', 'safe', `starting the local Ray: ${problem}`));
}

/** The same error with the end of what the head printed, which says why. */
async function withOutput(stateDir: string, error: OperatingError): Promise<OperatingError> {
  const output = await outputOf(stateDir);
  const mend = `see ${outputPath(stateDir)}${output === '' ? '' : `, which ends with: ${output.slice(-OUTPUT_TAIL)}`}`;
  const doing = error.message.slice(`${error.code} while `.length);
  return new OperatingError(error.code, error.retry, doing, { mend: error.mend ?? mend });
}
