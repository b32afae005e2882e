import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { startScript } from '../cloud/start-script.ts';
import { tarOf } from '../cloud/tar.ts';
import { type AttemptSpec, ProviderError, readWorkdir } from '../provider.ts';

/** Everything of Merit's in a container is below it. */
export const MERIT_ROOT = '/merit';
/** Where the Secrets of the attempt are, read-only, and where it works. */
export const RUN_PATH = `${MERIT_ROOT}/run`;
export const HOME_PATH = `${MERIT_ROOT}/home`;
export const START_FILE = 'start.sh';
const CODE_PREFIX = 'code.';

/** Kubernetes' own limit of a Secret is 1 MiB with its names; each is one write of etcd. */
const SECRET_BYTES = 1_000_000;
/** More would be a burden to etcd, which keeps every version of it in memory for a while. */
const CODE_SECRETS = 8;
/** Unpacked: what is read into memory to be packed. */
const WORKDIR_LIMIT_BYTES = 100 * 1024 * 1024;

/** Of one Secret: file names and their bytes. */
export type SecretFiles = Readonly<Record<string, Buffer>>;

/**
 * What an attempt starts from, as Secrets: its start with the environment, and its workdir, packed and cut into pieces. Throws ProviderError `invalid` where that
 * is more than a cluster should keep.
 */
export async function startFiles(spec: AttemptSpec, signal: AbortSignal): Promise<readonly SecretFiles[]> {
  const pieces = spec.workdir === undefined ? [] : piecesOf(await packed(spec.workdir, signal));
  const script = Buffer.from(startScript(spec, layoutOf(spec, pieces.length > 0)));
  if (script.length > SECRET_BYTES)
    throw new ProviderError(
      'invalid',
      `the environment and the command have ${script.length} bytes, and a Secret takes ${SECRET_BYTES}: put the rest into a file of the workdir`,
    );
  return [{ [START_FILE]: script }, ...pieces.map((bytes, i) => ({ [`${CODE_PREFIX}${i}`]: bytes }))];
}

async function packed(workdir: string, signal: AbortSignal): Promise<Buffer> {
  return promisify(gzip)(tarOf(await readWorkdir(workdir, signal, WORKDIR_LIMIT_BYTES)));
}

function piecesOf(bytes: Buffer): readonly Buffer[] {
  const most = CODE_SECRETS * SECRET_BYTES;
  if (bytes.length > most)
    throw new ProviderError(
      'invalid',
      `the workdir has ${bytes.length} bytes when it is packed, and ${most} are taken: put code into the image, and data on a claim or into s3`,
    );
  const count = Math.ceil(bytes.length / SECRET_BYTES);
  return Array.from({ length: count }, (_, i) => bytes.subarray(i * SECRET_BYTES, (i + 1) * SECRET_BYTES));
}

/** The nodes of a gang find each other by the names that its Service gives them. */
function layoutOf({ key, nodes = 1 }: AttemptSpec, hasCode: boolean) {
  const names = nodes === 1 ? ['127.0.0.1'] : Array.from({ length: nodes }, (_, i) => `${key}-${i}.${key}`);
  const ips = names.join('\n');
  const archive = `${HOME_PATH}/code.tar.gz`;
  return {
    folder: `${HOME_PATH}/work`,
    code: hasCode ? archive : undefined,
    // A pod that was evicted, and whose command saved its work and ended well, would make its Job complete.
    noticed: 143,
    env: { MERIT_NODE_IPS: ips, MERIT_HEAD_IP: names[0] ?? '', SKYPILOT_NODE_IPS: ips },
    rank: [
      // The job controller's, of each pod of an indexed Job.
      `MERIT_NODE_RANK="\${JOB_COMPLETION_INDEX:-0}"`,
      'SKYPILOT_NODE_RANK="$MERIT_NODE_RANK"',
      'export MERIT_NODE_RANK SKYPILOT_NODE_RANK',
      ...(hasCode ? [`cat '${RUN_PATH}/${CODE_PREFIX}'* > '${archive}' || exit 125`] : []),
    ],
  };
}
