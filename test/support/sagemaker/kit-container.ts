import type { CreateTrainingJobRequest } from '@aws-sdk/client-sagemaker';
import { simulateKitJob } from '../../../providers/merit-provider/src/kit/index.ts';
import { exportsOf, type Staged, untar } from '../cloud/staged.ts';
import type { Bucket } from './bucket.ts';
import type { Container } from './training-job.ts';

/** The containers of the kit's jobs: they find what was staged in the bucket, and do what their environment says. */
export function kitContainer(bucket: Bucket): Container {
  const known = new Map<string, Staged>();
  return ({ request, startedAtMs, noticeAtMs, killAtMs }, nowMs) => {
    const name = request.TrainingJobName!;
    let staged = known.get(name);
    if (staged === undefined) {
      staged = stagedFor(request, bucket);
      known.set(name, staged);
    }
    const { env, files } = staged;
    const { output, end } = simulateKitJob(
      { env, startedAtMs, noticeAtMs, killAtMs, file: (path) => files.get(path) },
      nowMs,
    );
    return { output, end };
  };
}

function stagedFor(request: CreateTrainingJobRequest, bucket: Bucket): Staged {
  const channel = (name: string) =>
    request.InputDataConfig?.find(({ ChannelName }) => ChannelName === name)?.DataSource?.S3DataSource?.S3Uri;
  const script = channel('merit') === undefined ? undefined : bucket.below(channel('merit')!).get('start.sh');
  const tar = channel('merit-code') === undefined ? undefined : bucket.below(channel('merit-code')!).get('code.tar');
  return {
    env: script === undefined ? { MERIT_KIT_STEPS: '1000000' } : exportsOf(script.toString('utf8')),
    files: tar === undefined ? new Map() : untar(tar),
  };
}
