import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, chownSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { hostname } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { findCommand } from './harness/debian.ts';
import type { Part, Place } from './harness/part.ts';

export interface SlurmFacts {
  /** Of slurm.conf and all else of this cluster. */
  readonly dir: string;
  readonly conf: string;
  /** Of slurmrestd, which knows whoever connects. */
  readonly socket: string;
  /** What slurmrestd runs as, and so the jobs. */
  readonly user: string;
  /** Its folder, for jobs. */
  readonly shared: string;
  readonly nodes: readonly string[];
  readonly gpusPerNode: number;
}

/** Neither root nor SlurmUser, as slurmrestd wants it; on every Debian. */
const USER = 'daemon';
const NODES = ['n1', 'n2'];
const GPUS_PER_NODE = 2;
const CPUS_PER_NODE = 16;
/** By command: the package that has it. */
const PACKAGES = [
  ['munged', 'munge'],
  ['slurmctld', 'slurmctld'],
  ['slurmd', 'slurmd'],
  ['scontrol', 'slurm-client'],
  ['slurmrestd', 'slurmrestd'],
] as const;
/** All of them, as .ci/run installs them; `slurm-wlm` is the first three of Slurm. */
const DEBIAN_PACKAGES = 'munge slurm-wlm slurmrestd';

/**
 * Debian's Slurm (22.05): one slurmctld, two slurmd on this machine, each with 16 CPUs and 2 GPUs that are none, and slurmrestd on a Unix socket. Its jobs are
 * real. A daemon that is killed is started again, unless `hold-NAME` is in its folder. 3 s to start, 40 MB.
 */
export const slurm: Part<SlurmFacts> = {
  name: 'slurm',
  needs: [],
  missing: () => {
    const lacks = PACKAGES.filter(([command]) => findCommand(command) === undefined);
    if (lacks.length > 0)
      return `there is no ${lacks.map(([command]) => command).join(', ')}: apt-get install ${DEBIAN_PACKAGES}`;
    return process.getuid?.() === 0 ? undefined : 'Slurm’s daemons give jobs to their users: run this as root';
  },
  start: async (place) => {
    const facts = await prepare(place);
    const { dir, conf, socket } = facts;
    const munge = ['--foreground', '--force', `--socket=${dir}/munge.sock`, `--key-file=${dir}/munge.key`];
    munge.push(`--pid-file=${dir}/munged.pid`, `--log-file=${dir}/munged.log`, `--seed-file=${dir}/munge.seed`);
    const isMunged = async () => {
      await promisify(execFile)('munge', [`--socket=${dir}/munge.sock`, '--no-input']);
      return true;
    };
    await place.run(findCommand('munged') ?? 'munged', munge, { ready: isMunged });
    await supervise(place, 'slurmctld', ['-D', '-f', conf], dir, async () =>
      (await slurmCommand(facts, 'scontrol', ['ping'])).includes('is UP'),
    );
    for (const node of NODES)
      await supervise(place, 'slurmd', ['-D', '-N', node, '-f', conf], dir, async () =>
        /^(idle|mixed)$/.test((await slurmCommand(facts, 'sinfo', ['-h', '-p', 'gpu', '-n', node, '-o', '%T'])).trim()),
      );
    const rest = ['--reuid', USER, '--regid', USER, '--clear-groups', findCommand('slurmrestd') ?? 'slurmrestd'];
    rest.push('-s', 'openapi/v0.0.38', '-a', 'rest_auth/local', `unix:${socket}`);
    await place.run(findCommand('setpriv') ?? 'setpriv', rest, {
      ready: () => answers(socket),
      env: { SLURM_CONF: conf },
      cwd: '/',
    });
    return facts;
  },
};

async function prepare(place: Place): Promise<SlurmFacts> {
  const { dir } = place;
  // The jobs' user has to come by; what is private is so by itself.
  for (const folder of [dirname(dir), dir]) chmodSync(folder, 0o711);
  const [shared, rest] = [join(dir, 'shared'), join(dir, 'rest')];
  for (const folder of ['state', 'spool', 'shared', 'rest', ...NODES.map((node) => `spool/${node}`)])
    mkdirSync(join(dir, folder), { mode: 0o755 });
  const [uid, gid] = await idsOf(USER);
  for (const folder of [shared, rest]) chownSync(folder, uid, gid);
  chmodSync(shared, 0o2770);
  writeFileSync(join(dir, 'munge.key'), randomBytes(128), { mode: 0o600 });
  const gpus = NODES.flatMap((node, i) => {
    const [first, last] = [i * GPUS_PER_NODE, (i + 1) * GPUS_PER_NODE - 1];
    for (let gpu = first; gpu <= last; gpu++) writeFileSync(join(dir, `gpu${gpu}`), '');
    return [`NodeName=${node} Name=gpu Type=a100 File=${dir}/gpu[${first}-${last}]`];
  });
  writeFileSync(join(dir, 'gres.conf'), `${gpus.join('\n')}\n`);
  const conf = join(dir, 'slurm.conf');
  const ports = [await place.freePort(), ...(await Promise.all(NODES.map(() => place.freePort())))];
  writeFileSync(conf, slurmConf(dir, ports));
  return { dir, conf, socket: join(rest, 's.sock'), user: USER, shared, nodes: NODES, gpusPerNode: GPUS_PER_NODE };
}

function slurmConf(dir: string, [controller, ...ports]: readonly number[]): string {
  const host = hostname();
  const node = `CPUs=${CPUS_PER_NODE} RealMemory=1000 Gres=gpu:a100:${GPUS_PER_NODE} State=UNKNOWN`;
  const settings = {
    ClusterName: 'merit',
    SlurmctldHost: `${host}(127.0.0.1)`,
    SlurmctldPort: controller,
    SlurmUser: 'root',
    AuthType: 'auth/munge',
    AuthInfo: `socket=${dir}/munge.sock`,
    CredType: 'cred/munge',
    StateSaveLocation: `${dir}/state`,
    SlurmdSpoolDir: `${dir}/spool/%n`,
    SlurmctldPidFile: `${dir}/slurmctld.pid`,
    SlurmdPidFile: `${dir}/slurmd-%n.pid`,
    CommunicationParameters: 'NoCtldInAddrAny,NoInAddrAny',
    PlugStackConfig: '/dev/null',
    ProctrackType: 'proctrack/linuxproc',
    TaskPlugin: 'task/none',
    SwitchType: 'switch/none',
    MpiDefault: 'none',
    SelectType: 'select/cons_tres',
    SelectTypeParameters: 'CR_Core',
    GresTypes: 'gpu',
    SchedulerParameters: 'batch_sched_delay=0,bf_interval=1,sched_interval=1',
    JobAcctGatherType: 'jobacct_gather/none',
    AccountingStorageType: 'accounting_storage/none',
    // The machine has fewer CPUs than its nodes say.
    SlurmdParameters: 'config_overrides',
    PreemptType: 'preempt/partition_prio',
    PreemptMode: 'CANCEL',
    // A node that comes back after it was lost takes jobs again.
    ReturnToService: 2,
    SlurmdTimeout: 15,
    MessageTimeout: 10,
    KillWait: 2,
    MinJobAge: 60,
  };
  const lines = Object.entries(settings).map(([name, value]) => `${name}=${value}`);
  NODES.forEach((name, i) => {
    lines.push(`NodeName=${name} NodeHostname=${host} NodeAddr=127.0.0.1 Port=${ports[i]} ${node}`);
  });
  const all = `Nodes=${NODES.join(',')} MaxTime=INFINITE State=UP`;
  lines.push(`PartitionName=gpu ${all} Default=YES PriorityTier=1`, `PartitionName=urgent ${all} PriorityTier=10`);
  return `${lines.join('\n')}\n`;
}

/** A shell that starts the daemon again and again, and that takes all of its jobs along when it ends. */
async function supervise(
  place: Place,
  command: string,
  args: readonly string[],
  dir: string,
  ready: () => Promise<boolean>,
): Promise<void> {
  const name = command === 'slurmd' ? `slurmd-${args[2]}` : command;
  // slurmd's step daemons, and so the jobs, are in sessions of their own; all of them carry the name of this conf.
  const script = `
    trap 'end' TERM
    end() {
      trap '' TERM
      kill -9 "$child" 2>/dev/null
      for one in $(grep -lzsx "SLURM_CONF=${dir}/slurm.conf" /proc/[0-9]*/environ); do
        one=\${one#/proc/}; one=\${one%/environ}
        grep -qzs "^SLURMD_NODENAME=" "/proc/$one/environ" && kill -9 "$one"
      done
      exit 0
    }
    while :; do
      while [ -e "${dir}/hold-${name}" ]; do sleep 0.2; done
      "$@" & child=$!
      wait "$child"
      sleep 0.2
    done`;
  await place.run('/bin/sh', ['-c', script, name, findCommand(command) ?? command, ...args], {
    ready,
    env: { SLURM_CONF: join(dir, 'slurm.conf') },
  });
}

async function idsOf(user: string): Promise<readonly [number, number]> {
  const line = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find((one) => one.startsWith(`${user}:`));
  const [, , uid, gid] = (line ?? '').split(':');
  return [Number(uid), Number(gid)];
}

function answers(socketPath: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, path: '/slurm/v0.0.38/ping' }, (response) => {
      response.resume();
      response.on('end', () => resolve(response.statusCode === 200));
    });
    asked.on('error', reject);
    asked.end();
  });
}

/** What a command of Slurm's says of this cluster. */
export async function slurmCommand({ conf }: SlurmFacts, command: string, args: readonly string[]): Promise<string> {
  const env = { ...process.env, SLURM_CONF: conf };
  return (await promisify(execFile)(command, args, { env, maxBuffer: 16 * 1024 * 1024 })).stdout;
}

/** Kills a daemon as the kernel would (`slurmctld`, `slurmd-n1`); it comes back by itself. False: it is not there yet. */
export function killDaemon({ dir }: SlurmFacts, name: string): boolean {
  try {
    return process.kill(Number(readFileSync(join(dir, `${name}.pid`), 'utf8')), 'SIGKILL');
  } catch (error) {
    if (['ESRCH', 'ENOENT'].includes(String((error as NodeJS.ErrnoException).code))) return false;
    throw error;
  }
}
