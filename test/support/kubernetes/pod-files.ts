import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type AdminApi, ApiRefusal } from './kubelet-api.ts';

interface KeyToPath {
  readonly key: string;
  readonly path: string;
}

interface SecretSource {
  readonly name?: string;
  readonly secretName?: string;
  readonly items?: readonly KeyToPath[];
}

export interface Volume {
  readonly name: string;
  readonly emptyDir?: object;
  readonly secret?: SecretSource;
  readonly configMap?: SecretSource;
  readonly projected?: {
    readonly sources?: readonly { readonly secret?: SecretSource; readonly configMap?: SecretSource }[];
  };
}

export interface Mount {
  readonly name: string;
  readonly mountPath: string;
}

/** Of a pod's volumes, where each mount is on this machine. */
export type Mounts = ReadonlyMap<string, string>;

/** What a volume needs is not there yet. */
export class NotYet extends Error {}

/**
 * A pod's volumes as folders. Nothing is mounted: wherever a mount's path stands in a command, a variable or a small text file of a volume, the folder's path is
 * written instead, so that all a container does with it is done there.
 */
export async function makeVolumes(
  api: AdminApi,
  namespace: string,
  root: string,
  volumes: readonly Volume[],
  mounts: readonly Mount[],
): Promise<Mounts> {
  const at = new Map(mounts.map(({ name, mountPath }) => [mountPath, join(root, name)]));
  for (const { name, secret, configMap, projected } of volumes) {
    const folder = join(root, name);
    await mkdir(folder, { recursive: true });
    const sources = [{ secret, configMap }, ...(projected?.sources ?? [])];
    for (const one of sources) {
      if (one.secret !== undefined) await write(api, namespace, 'secrets', one.secret, folder, at);
      if (one.configMap !== undefined) await write(api, namespace, 'configmaps', one.configMap, folder, at);
    }
  }
  return at;
}

async function write(
  api: AdminApi,
  namespace: string,
  resource: string,
  { name, secretName, items }: SecretSource,
  folder: string,
  mounts: Mounts,
): Promise<void> {
  type Source = {
    readonly data?: Readonly<Record<string, string>>;
    readonly binaryData?: Readonly<Record<string, string>>;
  };
  const path = `/api/v1/namespaces/${namespace}/${resource}/${name ?? secretName}`;
  const found = await api.call<Source>('GET', path).catch((error: unknown) => {
    throw error instanceof ApiRefusal && error.status === 404
      ? new NotYet(`${resource} "${name ?? secretName}" not found`)
      : error;
  });
  const coded = resource === 'secrets' ? found.data : found.binaryData;
  const files = new Map<string, Buffer>();
  for (const [key, value] of Object.entries(coded ?? {})) files.set(key, Buffer.from(value, 'base64'));
  if (resource === 'configmaps')
    for (const [key, value] of Object.entries(found.data ?? {})) files.set(key, Buffer.from(value));
  for (const [key, bytes] of files) {
    const item = items?.find((one) => one.key === key);
    if (items !== undefined && item === undefined) continue;
    const file = join(folder, item?.path ?? key);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, bytes.includes(0) ? bytes : rewritten(bytes.toString('utf8'), mounts));
  }
}

export function rewritten(text: string, mounts: Mounts): string {
  let result = text;
  for (const [path, folder] of mounts) result = result.replaceAll(path, folder);
  return result;
}
