import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { ListTagsCommand, SageMakerClient } from '@aws-sdk/client-sagemaker';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../platform/clock.ts';
import type { Provider } from '../../providers/provider.ts';
import { openProvider } from '../../providers/registry.ts';
import sageMaker from '../../providers/sagemaker/adapter.ts';
import { Clients } from '../../providers/sagemaker/clients.ts';
import type { SageMakerConfig } from '../../providers/sagemaker/config.ts';
import { observationOf } from '../../providers/sagemaker/observation.ts';
import { TrainingJobs } from '../../providers/sagemaker/training-jobs.ts';
import { A10G, sageMakerWorld } from '../support/sagemaker/world.ts';
import { partMissing, sharedPart } from './harness/use.ts';
import { moto } from './moto.ts';

const missing = partMissing(moto);

/** Shapes only: moto's jobs are born Completed, it has no stop, keeps no environment, and refuses nothing. */
describe.skipIf(missing !== undefined)(`SageMaker by moto${missing === undefined ? '' : ` (${missing})`}`, () => {
  const signal = AbortSignal.timeout(60_000);
  const region = 'us-east-1';
  const aws = { region, credentials: { accessKeyId: 'test', secretAccessKey: 'test' } };
  let folder: string;
  let url: string;
  let config: SageMakerConfig;
  let provider: Provider;

  beforeAll(async () => {
    ({ url } = await sharedPart(moto));
    folder = await mkdtemp(join(tmpdir(), 'merit-moto-'));
    const credentialsFile = join(folder, 'aws.json');
    await writeFile(credentialsFile, JSON.stringify({ AccessKeyId: 'test', SecretAccessKey: 'test' }));
    await new S3Client({ ...aws, endpoint: url, forcePathStyle: true }).send(
      new CreateBucketCommand({ Bucket: 'merit-moto' }),
    );
    config = {
      region,
      roleArn: 'arn:aws:iam::123456789012:role/merit-training',
      image: 'train:1',
      s3: 's3://merit-moto/training',
      credentialsFile,
      endpoint: url,
      logsEndpoint: url,
      s3Endpoint: url,
      flavours: [{ name: 'a10g', instanceType: 'ml.g5.12xlarge', gpus: 4, cpus: 48, instances: 8 }],
    };
    provider = await openProvider(sageMaker as never, config, {
      stateDir: folder,
      clock: systemClock,
      flavours: [A10G],
    });
  });
  afterAll(async () => {
    await provider?.close();
    await rm(folder, { recursive: true, force: true });
  });

  test('what Merit sends and reads has the shapes that another reading of the API has, tags too', async () => {
    const world = await sageMakerWorld();
    await world.close();
    const spec = world.spec({ nodes: 2, workdir: 'test/support/sagemaker' });
    const handle = await provider.submit(spec, signal);
    const jobs = new TrainingJobs(new Clients(config), systemClock);
    const job = await jobs.find(spec.key, signal);
    expect(observationOf(spec.key, job!)).toMatchObject({ state: 'ended', outcome: 'succeeded', exitCode: 0, handle });
    expect(job?.ResourceConfig).toMatchObject({ InstanceType: 'ml.g5.12xlarge', InstanceCount: 2 });
    expect(await jobs.find('m-nobody-1', signal)).toBeUndefined();
    expect((await jobs.list('m-', 0, signal)).map(({ TrainingJobName }) => TrainingJobName)).toContain(spec.key);
    // It keeps no environment, so that the job is nobody's to Merit.
    await expect(provider.observe(spec.key, signal)).rejects.toMatchObject({ code: 'invalid' });
    expect(await provider.list(spec.tag, signal)).toEqual([]);
    const { Tags = [] } = await new SageMakerClient({ ...aws, endpoint: url }).send(
      new ListTagsCommand({ ResourceArn: handle.uid }),
    );
    expect(Tags).toContainEqual({ Key: 'merit:booking', Value: spec.bookingId });
  });
});
