import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { folderFiles, RayJobError, ZipWriter } from 'ray-job-submission-client';
import { type Owner, ownerAnnotations, ownerLabels } from '../kubernetes/ownership.ts';
import { ProviderError } from '../provider.ts';

/** A ConfigMap holds 1 MiB; what is more goes into the next. */
const PART_BYTES = 900_000;
const PARTS_LIMIT = 8;
/** Where pods find it. */
const PARTS_FOLDER = '/merit/parts';
const CODE_FOLDER = '/merit/code';
const GANG_FOLDER = fileURLToPath(new URL('../ray/gang/', import.meta.url));

/** A package as Ray takes it from a node's own disk: named by its content, for Ray keeps what it unpacked by name. */
interface Package {
  readonly name: string;
  readonly bytes: Buffer;
}

/** What an attempt needs beside its command. */
export interface Code {
  readonly workdir: Package | undefined;
  /** The driver of a gang. */
  readonly gang: Package | undefined;
}

/**
 * Packs the workdir, without what .gitignore and .rayignore name, and for a gang its driver. Throws ProviderError `invalid` where it is more than what
 * Kubernetes can hold for a job.
 */
export async function packCode(workdir: string | undefined, isGang: boolean, signal: AbortSignal): Promise<Code> {
  const code = {
    workdir: workdir === undefined ? undefined : await packed(workdir, signal),
    gang: isGang ? await packed(GANG_FOLDER, signal) : undefined,
  };
  const parts = partsOf(code);
  if (parts.length <= PARTS_LIMIT) return code;
  const text = `the workdir packs to ${code.workdir?.bytes.length} bytes, and ${PARTS_LIMIT * PART_BYTES} go into ConfigMaps: name some in .rayignore, put them into the image, or let the job fetch them`;
  throw new ProviderError('invalid', text);
}

/** Ray takes one folder at the top away, so that there is always one. */
async function packed(folder: string, signal: AbortSignal): Promise<Package> {
  try {
    const zip = new ZipWriter();
    for (const { path, executable } of await folderFiles(folder, signal))
      await zip.add({ path: `merit/${path}`, executable, bytes: await readFile(join(folder, path)) });
    const bytes = zip.finish();
    return { name: `${createHash('sha256').update(bytes).digest('hex').slice(0, 40)}.zip`, bytes };
  } catch (error) {
    if (error instanceof RayJobError) throw new ProviderError('invalid', error.message, { cause: error });
    throw error;
  }
}

/** What Ray is told: the URIs of both. */
export function codeUris({ workdir, gang }: Code): {
  readonly workingDir: string | undefined;
  readonly gangDriver: string | undefined;
} {
  const uri = (one: Package | undefined) => (one === undefined ? undefined : `file://${CODE_FOLDER}/${one.name}`);
  return { workingDir: uri(workdir), gangDriver: uri(gang) };
}

interface Part {
  /** Its file in a pod: the package's name and a number, in whose order they are put together. */
  readonly file: string;
  readonly bytes: Buffer;
}

function partsOf({ workdir, gang }: Code): readonly Part[] {
  return [workdir, gang].flatMap((one) => {
    if (one === undefined) return [];
    const count = Math.max(1, Math.ceil(one.bytes.length / PART_BYTES));
    return Array.from({ length: count }, (_, i) => ({
      file: `${one.name}.${i}`,
      bytes: one.bytes.subarray(i * PART_BYTES, (i + 1) * PART_BYTES),
    }));
  });
}

export interface CodeMap {
  readonly apiVersion: 'v1';
  readonly kind: 'ConfigMap';
  readonly metadata: { readonly name: string; readonly [more: string]: unknown };
  readonly immutable: true;
  readonly binaryData: Readonly<Record<string, string>>;
}

/** The ConfigMaps that carry it; none where there is nothing to carry. */
export function codeMaps(key: string, owner: Owner, code: Code): readonly CodeMap[] {
  return partsOf(code).map(({ file, bytes }, i) => ({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: {
      name: `${key}-code-${i}`,
      labels: ownerLabels(key, owner),
      annotations: ownerAnnotations(owner),
    },
    immutable: true,
    binaryData: { [file]: bytes.toString('base64') },
  }));
}

export function codeMapNames(key: string, code: Code): readonly string[] {
  return partsOf(code).map((_, i) => `${key}-code-${i}`);
}

/** What a pod has so that Ray finds the packages: their parts, and a container that puts them together before Ray starts. */
export function codeInPod(key: string, code: Code, image: string) {
  const parts = partsOf(code);
  const maps = codeMapNames(key, code);
  if (parts.length === 0) return { volumes: [], initContainers: [], volumeMounts: [] };
  const names = [...new Set(parts.map(({ file }) => file.slice(0, file.lastIndexOf('.'))))];
  // In the order of their numbers, of which there is one digit.
  const commands = names.map((name) => `cat ${PARTS_FOLDER}/${name}.* > ${CODE_FOLDER}/${name}`);
  const mount = { name: 'merit-code', mountPath: CODE_FOLDER };
  return {
    volumes: [
      { name: 'merit-code', emptyDir: {} },
      {
        name: 'merit-parts',
        projected: { sources: maps.map((name) => ({ configMap: { name } })) },
      },
    ],
    initContainers: [
      {
        name: 'merit-code',
        image,
        command: ['/bin/sh', '-c', commands.join(' && ')],
        volumeMounts: [mount, { name: 'merit-parts', mountPath: PARTS_FOLDER, readOnly: true }],
        resources: { requests: { cpu: '100m', memory: '64Mi' }, limits: { cpu: '1', memory: '256Mi' } },
      },
    ],
    volumeMounts: [{ ...mount, readOnly: true }],
  };
}
