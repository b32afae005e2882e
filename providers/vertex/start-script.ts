import { checkedCopy, startScript as scriptOf } from '../cloud/start-script.ts';
import type { AttemptSpec } from '../provider.ts';

export const START_FILE = 'start.sh';
export const CODE_FILE = 'code.tar';

/** What lies in the bucket, which others may write too. */
export interface StagedFile {
  readonly uri: string;
  readonly sha256: string;
}

/** Vertex AI mounts Cloud Storage in every container, a folder a bucket. */
export function mounted(uri: string, root = '/gcs'): string {
  return `${root}/${uri.slice('gs://'.length)}`;
}

/** A fixed text, its values beside it: no tenant value is in it, nor a `$(`, which Vertex AI would expand. Whoever altered the script since has no job run by it. */
export function containerCommand(
  { uri, sha256 }: StagedFile,
  root = '/gcs',
  copy = '/tmp/merit.sh',
): readonly string[] {
  const text = `mkdir -p "\${3%/*}"; ${checkedCopy('"$1"', '"$2"', '"$3"')}; exec /bin/sh "$3"`;
  return ['/bin/sh', '-c', text, 'merit', mounted(uri, root), sha256, copy];
}

/**
 * What a container runs. Vertex AI's own environment would expand `$(NAME)` in values. The ranks and names of a gang stand in CLUSTER_SPEC, which is JSON:
 * {"cluster":{"workerpool0":["…-0:2222"],"workerpool1":["…-0:2222",…]},"environment":"cloud","task":{"type":"workerpool1","index":0}}.
 */
export function startScript(
  spec: AttemptSpec,
  code: StagedFile | undefined,
  { root = '/gcs', folder = '/tmp/merit' } = {},
): string {
  const alone = (spec.nodes ?? 1) === 1;
  return scriptOf(spec, {
    folder,
    code: code && mounted(code.uri, root),
    ...(code && { codeSha256: code.sha256 }),
    env: alone
      ? {
          MERIT_NODE_RANK: '0',
          MERIT_NODE_IPS: '127.0.0.1',
          MERIT_HEAD_IP: '127.0.0.1',
          SKYPILOT_NODE_RANK: '0',
          SKYPILOT_NODE_IPS: '127.0.0.1',
        }
      : {},
    rank: alone ? [] : GANG,
  });
}

/** The chief is node 0; the first of the workers is node 1. */
const GANG: readonly string[] = [
  `merit_spec=$(printf '%s' "$CLUSTER_SPEC" | tr -d ' \\n')`,
  `merit_task=$(printf '%s' "$merit_spec" | sed -n 's/.*"task":{\\([^}]*\\)}.*/\\1/p')`,
  `merit_index=$(printf '%s' "$merit_task" | sed -n 's/.*"index":\\([0-9]*\\).*/\\1/p')`,
  'case "$merit_task" in',
  `*'"type":"workerpool0"'*) MERIT_NODE_RANK=0 ;;`,
  `*'"type":"workerpool1"'*) MERIT_NODE_RANK=$(( \${merit_index:-0} + 1 )) ;;`,
  '*) echo "[merit] CLUSTER_SPEC tells no rank" >&2; exit 125 ;;',
  'esac',
  // Of each list the names without their ports, a line each.
  `merit_hosts() { printf '%s' "$merit_spec" | sed -n 's/.*"'"$1"'":\\[\\([^]]*\\)\\].*/\\1/p' | tr ',' '\\n' | sed -e 's/"//g' -e 's/:[0-9]*$//'; }`,
  'MERIT_HEAD_IP=$(merit_hosts workerpool0)',
  'MERIT_NODE_IPS=$(printf \'%s\\n%s\' "$MERIT_HEAD_IP" "$(merit_hosts workerpool1)")',
  'SKYPILOT_NODE_RANK=$MERIT_NODE_RANK',
  'SKYPILOT_NODE_IPS=$MERIT_NODE_IPS',
  'export MERIT_NODE_RANK MERIT_HEAD_IP MERIT_NODE_IPS SKYPILOT_NODE_RANK SKYPILOT_NODE_IPS',
];
