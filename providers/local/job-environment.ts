import { homePath, type Intent, tempPath } from './job-folder.ts';

/** In the environment of every process of a job: finds those that left its process group. */
export const JOB_MARK = 'MERIT_JOB_DIR';

/** All that a job inherits: nothing of the server's own environment but PATH, then what it asked for, then what it may not choose. */
export function jobEnvironment(folder: string, intent: Intent, path: string): Record<string, string> {
  return {
    PATH: path,
    HOME: homePath(folder),
    TMPDIR: tempPath(folder),
    LANG: 'C.UTF-8',
    PYTHONUNBUFFERED: '1',
    ...intent.env,
    // Empty hides all of them.
    CUDA_VISIBLE_DEVICES: intent.gpus.join(','),
    [JOB_MARK]: folder,
  };
}
