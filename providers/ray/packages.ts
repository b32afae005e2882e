import { fileURLToPath } from 'node:url';
import { packageUri, type RayJobClient, type ZippedFolder, zipFolder } from 'ray-job-submission-client';
import type { Packages } from './request.ts';

const GANG_FOLDER = fileURLToPath(new URL('./gang/', import.meta.url));
let gangDriver: Promise<ZippedFolder> | undefined;

/**
 * What the attempt needs beside its command, uploaded where Ray does not hold it already. A package is named by its content, so one folder is
 * sent once, whoever submits it next, and a name never means anything else. Throws RayJobError (`too_large` names the largest files).
 */
export async function uploadPackages(
  client: RayJobClient,
  workdir: string | undefined,
  isGang: boolean,
  signal: AbortSignal,
): Promise<Packages> {
  if (isGang) gangDriver ??= zipFolder(GANG_FOLDER);
  const [workingDir, driver] = await Promise.all([
    workdir === undefined ? undefined : zipFolder(workdir, signal).then((zip) => uploaded(client, zip, signal)),
    isGang ? gangDriver?.then((zip) => uploaded(client, zip, signal)) : undefined,
  ]);
  return { workingDir, gangDriver: driver };
}

async function uploaded(client: RayJobClient, zip: ZippedFolder, signal: AbortSignal): Promise<string> {
  const name = `merit_${zip.sha256.slice(0, 40)}.zip`;
  if (!(await client.packageExists(name, signal))) await client.uploadPackage(name, zip.bytes, signal);
  return packageUri(name);
}
