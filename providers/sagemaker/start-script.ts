import { startScript as scriptOf } from '../cloud/start-script.ts';
import type { AttemptSpec } from '../provider.ts';
import { CODE_CHANNEL, RUN_CHANNEL } from './job-options.ts';

/** Where SageMaker puts everything. */
const CONTAINER_ROOT = '/opt/ml';
export const START_FILE = 'start.sh';
export const CODE_FILE = 'code.tar';

/** A fixed text: SageMaker takes 256 characters of it, and no tenant value is in it. */
export function containerEntrypoint(root = CONTAINER_ROOT): readonly string[] {
  return ['/bin/sh', `${root}/input/data/${RUN_CHANNEL}/${START_FILE}`];
}

/** What a container runs: SageMaker's own environment takes 512 characters a value. */
export function startScript(spec: AttemptSpec, root = CONTAINER_ROOT): string {
  const nodes = spec.nodes ?? 1;
  const ips = nodes === 1 ? '127.0.0.1' : Array.from({ length: nodes }, (_, i) => `algo-${i + 1}`).join('\n');
  const head = nodes === 1 ? '127.0.0.1' : 'algo-1';
  return scriptOf(spec, {
    folder: `${root}/merit`,
    code: spec.workdir === undefined ? undefined : `${root}/input/data/${CODE_CHANNEL}/${CODE_FILE}`,
    env: { MERIT_NODE_IPS: ips, MERIT_HEAD_IP: head, SKYPILOT_NODE_IPS: ips },
    rank: [
      // {"current_host":"algo-2","hosts":[…]}
      `merit_rank=$(sed -n 's/.*"current_host" *: *"algo-\\([0-9]*\\)".*/\\1/p' '${root}/input/config/resourceconfig.json' 2>/dev/null)`,
      `MERIT_NODE_RANK=$(( \${merit_rank:-1} - 1 ))`,
      'SKYPILOT_NODE_RANK=$MERIT_NODE_RANK',
      'export MERIT_NODE_RANK SKYPILOT_NODE_RANK',
    ],
  });
}
