import { userInfo } from 'node:os';
import { join } from 'node:path';
import { sha256Hex } from '../../core/canonical.ts';
import { tarOf } from '../cloud/tar.ts';
import { untilAborted } from '../cloud/until-aborted.ts';
import { type AttemptSpec, ProviderError, readWorkdir } from '../provider.ts';
import type { SlurmConfig } from './config.ts';
import { putOnce, type RunFolder } from './run-folder.ts';
import { fileMode, folderMode, SharedFolder } from './shared-folder.ts';
import { nodeScript, type Places } from './start-script.ts';

const WORKDIR_LIMIT_BYTES = 512 * 1024 * 1024;
const CODE = 'code';

/**
 * Puts what a job starts from onto the shared folder, named by its content: a workdir lies there once whoever uses it, and of two submits of an attempt
 * none changes what the other's job finds. No job comes to be of it: whatever it throws, ProviderError, has effect none.
 */
export async function stage(
  { shared, user }: Pick<SlurmConfig, 'shared' | 'user'>,
  folder: RunFolder,
  spec: AttemptSpec,
  nowMs: number,
  signal: AbortSignal,
): Promise<Places> {
  const script = Buffer.from(nodeScript(spec, folder.path));
  const code =
    spec.workdir === undefined ? undefined : tarOf(await readWorkdir(spec.workdir, signal, WORKDIR_LIMIT_BYTES));
  const work = async (): Promise<Places> => {
    const name = `node-${sha256Hex(script)}.sh`;
    const node = join(folder.path, name);
    if (!(await folder.putScript(name, script, isMerit(user)))) throw altered(node);
    return {
      run: folder.path,
      node,
      code: code === undefined ? undefined : await putCode(shared, code, nowMs),
      mode: await folderMode(shared),
    };
  };
  return untilAborted(work(), signal, 'the job was staged');
}

/** Its time is that of its last use: what is old may go. */
async function putCode(shared: string, bytes: Buffer, nowMs: number): Promise<string> {
  const name = `code-${sha256Hex(bytes)}.tar`;
  await SharedFolder.make(shared, [CODE], 'merit');
  const mode = await fileMode(shared);
  const isPut = await SharedFolder.within(shared, [CODE], async (folder) => {
    const isSame = await putOnce(folder, name, bytes, mode);
    if (isSame) await folder.touch(name, nowMs);
    return isSame;
  });
  const path = join(shared, CODE, name);
  if (isPut !== true) throw altered(path);
  return path;
}

function altered(path: string): ProviderError {
  return new ProviderError('invalid', `${path} was altered: delete it, and look who may write there`);
}

/** Then nobody else has to read what Merit writes for its jobs. */
function isMerit(user: string): boolean {
  try {
    return userInfo().username === user;
  } catch {
    // A number without a name.
    return false;
  }
}
