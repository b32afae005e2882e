import { quoted } from '../cloud/start-script.ts';
import { type AttemptSpec, ProviderError } from '../provider.ts';
import { CLAIM, EXIT, LOG, NOTICE, WORK } from './run-folder.ts';

/** Linux starts no process with a longer variable, its name counted. */
const VARIABLE_LIMIT_BYTES = 131_071;
/** Jobs share nodes, so that each has a port of its own: 12000 to 31999, below those that Linux gives out. */
const HEAD_PORTS = { first: 12_000, count: 20_000 };
/** What a job's script exits with whose attempt somebody else runs, or nobody may: sysexits' EX_TEMPFAIL. */
export const NOT_CLAIMED = 75;

/**
 * A wait that a signal broke off says nothing of how the command ended, which may be over by then: it is asked once more, and is 127 where the shell has told
 * it already.
 */
const AWAIT = [
  'while :; do wait "$merit_child"; merit_code=$?; kill -0 "$merit_child" 2>/dev/null || break; done',
  'wait "$merit_child" 2>/dev/null; merit_again=$?; [ "$merit_again" -eq 127 ] || merit_code=$merit_again',
];

/** Where a job's files are, on every node by the same name. */
export interface Places {
  readonly run: string;
  /** What runs on each node. */
  readonly node: string;
  /** The archive of the workdir. */
  readonly code: string | undefined;
  /** Of the shared folder: who may enter it may enter what the job makes there. */
  readonly mode: number;
}

export interface Shape {
  readonly nodes: number;
  readonly cpusPerNode: number;
  /** After so long its notice is given; 0: never. */
  readonly noticeAfterSeconds: number;
}

/**
 * What Slurm runs on the first node. It claims the attempt, so that of several jobs of one attempt, or of one that Slurm ran again, exactly one ever runs its
 * command; gives it notice before Slurm's time limit (slurmrestd refuses `--signal=B:…`), and writes down how it ended. No tenant value is in it.
 */
export function batchScript(
  { run, node, code, mode }: Places,
  { nodes, cpusPerNode, noticeAfterSeconds }: Shape,
): string {
  const isGang = nodes > 1;
  const start = isGang
    ? `srun --nodes=${nodes} --ntasks=${nodes} --ntasks-per-node=1 --cpus-per-task=${cpusPerNode} --kill-on-bad-exit=1 --label --mpi=none /bin/sh "$merit_node"`
    : '/bin/sh "$merit_node"';
  const nudge = isGang ? 'scancel --signal=URG "$SLURM_JOB_ID"' : 'kill -s URG "$merit_child"';
  const lines = [
    '#!/bin/sh',
    // Slurm ends jobs with SIGTERM to all their processes: this one has to see the others’ end.
    'merit_before=nothing',
    "trap 'merit_before=told' TERM",
    `umask ${(~mode & 0o777).toString(8).padStart(4, '0')}`,
    `merit_run=${quoted(run)}`,
    `merit_node=${quoted(node)}`,
    'merit_mine="$merit_run/.claim.$SLURM_JOB_ID.$SLURM_RESTART_COUNT"',
    `printf '{"by":"job","job":%s}' "$SLURM_JOB_ID" >"$merit_mine" && ln "$merit_mine" "$merit_run/${CLAIM}" || exit ${NOT_CLAIMED}`,
    `exec >>"$merit_run/${LOG}" 2>&1 </dev/null`,
    'merit_started=$(date +%s)',
    'merit_end() {',
    `  { printf '%s\\n' "$SLURM_JOB_ID" "$1" "$merit_before" "$merit_started" "$(date +%s)"; ${isGang ? ':' : 'times'}; } >"$merit_run/.${EXIT}" && mv "$merit_run/.${EXIT}" "$merit_run/${EXIT}"`,
    '  exit "$1"',
    '}',
    `mkdir -p "$merit_run/${WORK}" && cd "$merit_run/${WORK}" || merit_end 125`,
    ...(code === undefined ? [] : [`tar -xf ${quoted(code)} || merit_end 125`]),
    `MERIT_HEAD_PORT=$((${HEAD_PORTS.first} + SLURM_JOB_ID % ${HEAD_PORTS.count}))`,
    isGang
      ? 'MERIT_NODE_IPS=$(scontrol show hostnames "$SLURM_JOB_NODELIST") || merit_end 125'
      : 'MERIT_NODE_IPS=127.0.0.1',
    `MERIT_HEAD_IP=$(printf '%s\\n' "$MERIT_NODE_IPS" | head -n 1)`,
    'export MERIT_HEAD_PORT MERIT_NODE_IPS MERIT_HEAD_IP',
    `${start} &`,
    'merit_child=$!',
    `merit_nudge() { if [ -e "$merit_run/${NOTICE}" ]; then ${nudge}; fi; }`,
    'trap merit_nudge URG',
    ...timerOf(noticeAfterSeconds),
    ...AWAIT,
    ...(noticeAfterSeconds > 0 ? ['kill -s USR1 "$merit_timer" 2>/dev/null; wait "$merit_timer"'] : []),
    // A slurmctld that was killed has forgotten its last seconds.
    ...(isGang
      ? [`grep -qs '^srun: error: Unable to confirm allocation' "$merit_run/${LOG}" && merit_before=lost`]
      : []),
    'merit_end "$merit_code"',
  ];
  return `${lines.join('\n')}\n`;
}

/** Ends with its sleep: what a shell leaves behind is no child of the job’s any more, and Slurm would not find it. */
function timerOf(seconds: number): readonly string[] {
  if (seconds <= 0) return [];
  return [
    '(',
    `  trap 'kill "$merit_sleep" 2>/dev/null; exit' USR1`,
    `  sleep ${seconds} & merit_sleep=$!`,
    '  wait "$merit_sleep" || exit',
    `  echo '{}' >"$merit_run/.${NOTICE}" && ln "$merit_run/.${NOTICE}" "$merit_run/${NOTICE}"`,
    '  merit_nudge',
    ') &',
    'merit_timer=$!',
  ];
}

/**
 * What runs on each node: sets the environment byte for byte, and runs the command in a process group of its own, which alone is given SIGTERM, once,
 * when it is nudged (SIGURG, which nobody minds) and its notice is there. Needs `sh`; without `setsid` the notice reaches the command's shell alone.
 */
export function nodeScript(spec: AttemptSpec, run: string): string {
  const nodes = String(spec.nodes ?? 1);
  const env = {
    ...spec.env,
    MERIT_NUM_NODES: nodes,
    SKYPILOT_NUM_NODES: nodes,
    SKYPILOT_NUM_GPUS_PER_NODE: String(spec.resources.gpuMilli / 1000n),
  };
  checkVariables(env);
  const lines = [
    '#!/bin/sh',
    'trap : TERM',
    `merit_run=${quoted(run)}`,
    '[ -n "$HOME" ] || HOME=$(getent passwd "$(id -u)" | cut -d: -f6)',
    '[ -d "$HOME" ] || HOME=$merit_run',
    'USER=$SLURM_JOB_USER LOGNAME=$SLURM_JOB_USER',
    'MERIT_NODE_RANK=$SLURM_PROCID',
    'SKYPILOT_NODE_RANK=$MERIT_NODE_RANK SKYPILOT_NODE_IPS=$MERIT_NODE_IPS',
    'export HOME USER LOGNAME MERIT_NODE_RANK SKYPILOT_NODE_RANK SKYPILOT_NODE_IPS',
    ...Object.entries(env).map(([name, value]) => `export ${name}=${quoted(value)}`),
    `cd "$merit_run/${WORK}" || exit 125`,
    `merit_command=${quoted(spec.entrypoint)}`,
    'if command -v setsid >/dev/null 2>&1; then setsid sh -c "$merit_command" & else sh -c "$merit_command" & fi',
    'merit_child=$!',
    'merit_nudge() {',
    `  [ -z "$merit_told" ] && [ -e "$merit_run/${NOTICE}" ] || return 0`,
    '  merit_told=1',
    // dash takes no `--` after `-TERM`, others take no group without it.
    '  kill -s TERM -- "-$merit_child" 2>/dev/null || kill -TERM "-$merit_child" 2>/dev/null || kill -TERM "$merit_child"',
    '}',
    'merit_told=',
    'trap merit_nudge URG',
    'merit_nudge',
    ...AWAIT,
    'exit "$merit_code"',
  ];
  return `${lines.join('\n')}\n`;
}

function checkVariables(env: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(env)) {
    const bytes = Buffer.byteLength(`${name}=${value}`);
    if (bytes < VARIABLE_LIMIT_BYTES) continue;
    const text = `${name} has ${bytes} bytes, and no process can carry that: say less in envs and parameters, or put it into a file of the workdir`;
    throw new ProviderError('invalid', text);
  }
}
