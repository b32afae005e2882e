import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, open, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RayJobClient } from 'ray-job-submission-client';
import { systemClock } from '../../platform/clock.ts';
import { processStart } from '../../platform/processes.ts';
import { signalProcess } from '../../providers/process-table.ts';
import { CLUSTER_MARK, clusterProcesses } from '../../providers/ray/cluster-processes.ts';
import { type ClusterRecord, readRecord } from '../../providers/ray/cluster-record.ts';
import { freePorts } from '../../providers/ray/free-ports.ts';
import { findLocalCluster, HEAD_IP, startLocalCluster } from '../../providers/ray/local-cluster.ts';
import { pythonVenv } from './python.ts';
import { startedAtLast } from './ray.ts';

/** How long a node of these tests runs on without its head; Ray's own 60 s would make them slow. */
export const NODE_GIVES_UP_S = 8;
const JOIN_LIMIT_MS = 60_000;
const OUTPUT = 'node.log';

export interface RayMachine {
  readonly nodeId: string;
  /** As when a machine loses power: all of it at once, jobs too. */
  kill(): Promise<void>;
  /** Jobs only, as where a machine goes down bit by bit. */
  killSupervisors(): Promise<void>;
}

/** A real Ray of several nodes on this machine, whose head can be killed and started anew at the same address. */
export interface RayCluster {
  readonly address: string;
  readonly tokenFile: string;
  readonly client: RayJobClient;
  addNode(): Promise<RayMachine>;
  killHead(): Promise<void>;
  startHead(): Promise<void>;
  /** Stops the agent that watches the jobs, as where memory or CPUs ran out on the head. Resolves with what lets it go on. */
  freezeHeadAgent(): Promise<() => Promise<void>>;
  close(): Promise<void>;
}

export async function startRayCluster(cpusOfNode: number): Promise<RayCluster> {
  const stateDir = await mkdtemp(join(tmpdir(), 'merit-nodes-'));
  const [dashboardPort = 0, gcsPort = 0] = await freePorts(2);
  const head = { venvDir: pythonVenv(), stateDir, dashboardPort, gcsPort, numCpus: cpusOfNode, fakeGpus: 0 };
  const { address, tokenFile } = await startedAtLast(() => startLocalCluster(head));
  const client = new RayJobClient({ address, token: () => readFile(tokenFile, 'utf8'), timeoutMs: 5_000 });
  const nodes: ClusterRecord[] = [];
  return {
    address,
    tokenFile,
    client,
    addNode: () =>
      startedAtLast(async () => {
        const before = new Set((await client.nodes()).map((node) => node.nodeId));
        const record = await spawnNode(`${HEAD_IP}:${gcsPort}`, tokenFile, cpusOfNode);
        nodes.push(record);
        return {
          nodeId: await joined(client, before, record),
          kill: () => killAll(record),
          killSupervisors: () => signalNamed(record, 'ray::JobSupervisor', 'SIGKILL'),
        };
      }),
    killHead: async () => {
      const record = await readRecord(stateDir);
      if (record !== undefined) await killAll(record);
    },
    startHead: async () => {
      await startedAtLast(() => startLocalCluster(head));
    },
    freezeHeadAgent: async () => {
      const record = await readRecord(stateDir);
      if (record === undefined) throw new Error('no head runs');
      await signalNamed(record, 'ray::DashboardAgent', 'SIGSTOP');
      return () => signalNamed(record, 'ray::DashboardAgent', 'SIGCONT');
    },
    close: async () => {
      client.close();
      await (await findLocalCluster(stateDir))?.stop();
      // A head that died, or was killed and not started again, is among what is left.
      const left = await readRecord(stateDir);
      for (const record of left === undefined ? nodes : [left, ...nodes]) {
        await killAll(record);
        await rm(record.tempDir, { recursive: true, force: true });
      }
      await rm(stateDir, { recursive: true, force: true });
    },
  };
}

async function spawnNode(head: string, tokenFile: string, cpus: number): Promise<ClusterRecord> {
  const tempDir = await mkdtemp('/tmp/mrn-');
  const clusterId = randomBytes(12).toString('hex');
  const [agentHttp, agentGrpc, runtimeEnv, metrics] = await freePorts(4);
  const args = [
    'start',
    `--address=${head}`,
    '--block',
    '--disable-usage-stats',
    `--node-ip-address=${HEAD_IP}`,
    `--dashboard-agent-listen-port=${agentHttp}`,
    `--dashboard-agent-grpc-port=${agentGrpc}`,
    `--runtime-env-agent-port=${runtimeEnv}`,
    `--metrics-export-port=${metrics}`,
    `--num-cpus=${cpus}`,
    '--object-store-memory=80000000',
    // The head's serves the whole machine, as Ray asks for; one process less that a busy machine has to start within the 15 s of Ray's agents.
    '--include-log-monitor=false',
  ];
  const output = await open(join(tempDir, OUTPUT), 'w');
  const child = spawn(join(pythonVenv(), 'bin', 'ray'), args, {
    detached: true,
    stdio: ['ignore', output.fd, output.fd],
    cwd: tempDir,
    env: {
      PATH: `${join(pythonVenv(), 'bin')}:/usr/local/bin:/usr/bin:/bin`,
      HOME: tempDir,
      LANG: 'C.UTF-8',
      PYTHONUTF8: '1',
      RAY_AUTH_MODE: 'token',
      RAY_AUTH_TOKEN_PATH: tokenFile,
      RAY_gcs_rpc_server_reconnect_timeout_s: String(NODE_GIVES_UP_S - 3),
      [CLUSTER_MARK]: clusterId,
    },
  });
  child.unref();
  await output.close();
  const pid = child.pid ?? 0;
  return { state: 'running', clusterId, tempDir, pid, startTime: processStart(pid) ?? '', address: '' };
}

async function joined(client: RayJobClient, before: ReadonlySet<string>, record: ClusterRecord): Promise<string> {
  const deadlineMs = Date.now() + JOIN_LIMIT_MS;
  for (;;) {
    const nodes = await client.nodes().catch(() => []);
    const fresh = nodes.find((node) => !before.has(node.nodeId));
    if (fresh !== undefined) return fresh.nodeId;
    const ended = (await clusterProcesses(record)).length === 0;
    if (ended || Date.now() > deadlineMs) {
      await killAll(record);
      const printed = await readFile(join(record.tempDir, OUTPUT), 'utf8').catch(() => '');
      await rm(record.tempDir, { recursive: true, force: true });
      throw new Error(`a further node did not join, and printed: ${printed.slice(-600)}`);
    }
    await systemClock.sleep(300);
  }
}

/** To all processes of the cluster's part whose title that is; at least one. */
async function signalNamed(record: ClusterRecord, title: string, signal: NodeJS.Signals): Promise<void> {
  const pids = await clusterProcesses(record);
  const titles = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')));
  const named = pids.filter((_, i) => titles[i]?.startsWith(title));
  if (named.length === 0) throw new Error(`no ${title} runs`);
  for (const pid of named) signalProcess(pid, signal);
}

async function killAll(record: ClusterRecord): Promise<void> {
  for (;;) {
    const pids = await clusterProcesses(record);
    if (pids.length === 0) return;
    for (const pid of pids) signalProcess(pid, 'SIGKILL');
    await systemClock.sleep(100);
  }
}
