import { type AttemptSpec, ProviderError } from '../provider.ts';

/** Linux starts no process with a longer variable, its name counted. */
const VARIABLE_LIMIT_BYTES = 131_071;
/** Each node is a machine of its own, so that nothing else has it. */
const HEAD_PORT = 29_500;

/** How a service's containers are laid out. */
export interface Layout {
  /** Folder of the command, made by the script. */
  readonly folder: string;
  /** The archive of the workdir, unpacked there; undefined: there is none. */
  readonly code: string | undefined;
  /** Of that archive, where others than Merit might write it: a copy beside the folder is checked and unpacked. Needs `sha256sum`. Absent: it is not checked. */
  readonly codeSha256?: string;
  /** Of the nodes, by what is known when the job is submitted. */
  readonly env: Readonly<Record<string, string>>;
  /** Lines of the shell that set and export MERIT_NODE_RANK, SKYPILOT_NODE_RANK and whatever of the nodes only they know. */
  readonly rank: readonly string[];
  /** What the container exits with where the command ended well after its notice: for a service that would take that for a job that is done. Absent: 0. */
  readonly noticed?: number;
}

/**
 * What a container runs: sets the environment byte for byte (services take short values, or expand them), unpacks the workdir, runs the command in a
 * process group of its own, and hands SIGTERM to all of it: as the container's first process a shell would leave it at that. Needs `sh`; `tar` where there
 * is a workdir; with `setsid` the notice reaches the whole group, without it the command's shell alone.
 */
export function startScript(spec: AttemptSpec, layout: Layout): string {
  const { folder, env: ofNodes, rank, noticed } = layout;
  const nodes = spec.nodes ?? 1;
  const env = {
    ...spec.env,
    MERIT_NUM_NODES: String(nodes),
    MERIT_HEAD_PORT: String(HEAD_PORT),
    SKYPILOT_NUM_NODES: String(nodes),
    SKYPILOT_NUM_GPUS_PER_NODE: String(spec.resources.gpuMilli / 1000n),
    ...ofNodes,
  };
  checkVariables(env);
  const lines = [
    '#!/bin/sh',
    ...Object.entries(env).map(([name, value]) => `export ${name}=${quoted(value)}`),
    ...rank,
    // Each node says a line, so that its log is there from the beginning.
    ...(nodes === 1 ? [] : [`echo "[merit] node $MERIT_NODE_RANK of ${nodes} begins"`]),
    `mkdir -p ${quoted(folder)} && cd ${quoted(folder)} || exit 125`,
    ...unpacking(layout),
    `merit_command=${quoted(spec.entrypoint)}`,
    'if command -v setsid >/dev/null 2>&1; then setsid sh -c "$merit_command" & else sh -c "$merit_command" & fi',
    'merit_child=$! merit_noticed=',
    // dash takes no `--` after `-TERM`, others take no group without it.
    `trap 'merit_noticed=1; kill -s TERM -- "-$merit_child" 2>/dev/null || kill -TERM "-$merit_child" 2>/dev/null || kill -TERM "$merit_child"' TERM`,
    // A wait that the notice broke off says nothing of how the command ended.
    'while :; do wait "$merit_child"; merit_code=$?; kill -0 "$merit_child" 2>/dev/null || break; done',
    ...(noticed === undefined ? [] : [`if [ "$merit_code$merit_noticed" = 01 ]; then exit ${noticed}; fi`]),
    'exit "$merit_code"',
  ];
  return `${lines.join('\n')}\n`;
}

function unpacking({ folder, code, codeSha256 }: Layout): readonly string[] {
  if (code === undefined) return [];
  if (codeSha256 === undefined) return [`tar -xf ${quoted(code)} || exit 125`];
  const copy = quoted(`${folder}.tar`);
  return [checkedCopy(quoted(code), quoted(codeSha256), copy), `tar -xf ${copy} && rm -f ${copy} || exit 125`];
}

/** A line that copies a file, by words of the shell, and ends with 125 unless the copy has this SHA-256: what is used then changes no more. */
export function checkedCopy(from: string, sha256: string, to: string): string {
  const check = `cp ${from} ${to} && printf '%s  %s\\n' ${sha256} ${to} | sha256sum -c - >/dev/null`;
  return `${check} || { echo "[merit] what was staged is not what was submitted, or could not be checked" >&2; exit 125; }`;
}

export function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

function checkVariables(env: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(env)) {
    const bytes = Buffer.byteLength(`${name}=${value}`);
    if (bytes < VARIABLE_LIMIT_BYTES) continue;
    const text = `${name} has ${bytes} bytes, and no process can carry that: say less in envs and parameters, or put it into a file of the workdir`;
    throw new ProviderError('invalid', text);
  }
}
