import { simulateKitJob } from '../../../providers/merit-provider/src/kit/index.ts';
import type { NewCustomJob } from '../../../providers/vertex/wire.ts';
import { exportsOf, type Staged, untar } from '../cloud/staged.ts';
import type { Container } from './custom-job.ts';

/** The containers of the kit's jobs: they find what was staged in the bucket, as it is mounted, and do what their environment says. */
export function kitContainer(objects: () => ReadonlyMap<string, Buffer>): Container {
  const known = new Map<NewCustomJob, Staged>();
  return ({ job, startedAtMs, noticeAtMs, killAtMs }, nowMs) => {
    let staged = known.get(job);
    if (staged === undefined) {
      staged = stagedFor(job, objects());
      known.set(job, staged);
    }
    const { env, files } = staged;
    const { output, end } = simulateKitJob(
      { env, startedAtMs, noticeAtMs, killAtMs, file: (path) => files.get(path) },
      nowMs,
    );
    return { output, end };
  };
}

function stagedFor(job: NewCustomJob, objects: ReadonlyMap<string, Buffer>): Staged {
  const mounted = (path: string | undefined) =>
    path === undefined ? undefined : objects.get(path.replace(/^\/gcs\//, ''));
  const script = mounted(job.jobSpec.workerPoolSpecs[0]?.containerSpec.command[4])?.toString('utf8');
  if (script === undefined) return { env: { MERIT_KIT_STEPS: '1000000' }, files: new Map() };
  const tar = mounted(/^cp '([^']+)'/m.exec(script)?.[1]);
  return { env: exportsOf(script), files: tar === undefined ? new Map() : untar(tar) };
}
