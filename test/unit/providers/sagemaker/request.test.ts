import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { modelProblems } from '../../../support/sagemaker/service-model.ts';
import { ACCOUNT, REGION } from '../../../support/sagemaker/simulator.ts';
import { type SageMakerWorld, sageMakerWorld } from '../../../support/sagemaker/world.ts';

let world: SageMakerWorld;
beforeEach(async () => {
  world = await sageMakerWorld({ quotas: { 'ml.m5.xlarge': 2 } });
});
afterEach(() => world.close());

const failureOf = (work: Promise<unknown>) =>
  work.then(
    () => undefined,
    (error: unknown) => error as { code: string; effect: string; message: string },
  );

test('what a job and its pool ask for is what the simulator is sent', async () => {
  const other = `arn:aws:iam::${ACCOUNT}:role/other`;
  const provider = await world.open({
    roles: [other],
    vpc: { subnets: ['subnet-1a'], securityGroupIds: ['sg-1'] },
    networkIsolation: true,
    encryptTraffic: true,
    kmsKeyId: 'alias/merit',
    tags: { team: 'search' },
  });
  const options = {
    sagemaker: {
      image: 'public.ecr.aws/train@sha256:0',
      roleArn: other,
      hyperparameters: { lr: '0.1' },
      channels: {
        train: { s3: 's3://data/train/', mode: 'FastFile', sharded: true },
        labels: { s3: 's3://data/l.json', manifest: true },
      },
      checkpoints: 's3://data/checkpoints',
      volumeGib: 100,
    },
  };
  const spec = world.spec({ nodes: 2, options });
  await provider.submit(spec, world.signal);
  const { request } = world.simulator.job(spec.key);
  const [start, ...channels] = request.InputDataConfig!;
  expect(start).toMatchObject({ ChannelName: 'merit' });
  expect(channels).toEqual([
    {
      ChannelName: 'train',
      InputMode: 'FastFile',
      DataSource: {
        S3DataSource: { S3DataType: 'S3Prefix', S3Uri: 's3://data/train/', S3DataDistributionType: 'ShardedByS3Key' },
      },
    },
    {
      ChannelName: 'labels',
      DataSource: {
        S3DataSource: {
          S3DataType: 'ManifestFile',
          S3Uri: 's3://data/l.json',
          S3DataDistributionType: 'FullyReplicated',
        },
      },
    },
  ]);
  const content = request.Environment?.MERIT_CONTENT;
  expect(request).toMatchObject({
    TrainingJobName: spec.key,
    AlgorithmSpecification: {
      TrainingImage: 'public.ecr.aws/train@sha256:0',
      ContainerEntrypoint: ['/bin/sh', '/opt/ml/input/data/merit/start.sh'],
    },
    RoleArn: other,
    HyperParameters: { lr: '0.1' },
    OutputDataConfig: { S3OutputPath: 's3://example-merit/training/output', KmsKeyId: 'alias/merit' },
    ResourceConfig: {
      InstanceType: 'ml.g5.12xlarge',
      InstanceCount: 2,
      VolumeSizeInGB: 100,
      VolumeKmsKeyId: 'alias/merit',
    },
    CheckpointConfig: { S3Uri: 's3://data/checkpoints' },
    StoppingCondition: { MaxRuntimeInSeconds: 3600 },
    VpcConfig: { Subnets: ['subnet-1a'], SecurityGroupIds: ['sg-1'] },
    EnableNetworkIsolation: true,
    EnableInterContainerTrafficEncryption: true,
    Environment: { MERIT_TAG: 'merit-test', MERIT_BOOKING: spec.bookingId, MERIT_ATTEMPT: '1' },
    Tags: [
      { Key: 'team', Value: 'search' },
      { Key: 'merit:tag', Value: 'merit-test' },
      { Key: 'merit:booking', Value: spec.bookingId },
      { Key: 'merit:attempt', Value: '1' },
      { Key: 'merit:content', Value: content },
    ],
  });
  expect(request.EnableManagedSpotTraining).toBeUndefined();
});

describe('a job is refused as invalid, before anything is staged, where it asks', () => {
  const g = { gpuMilli: 4000n, cpuMilli: 1000n, memoryBytes: 0n };
  test.each([
    ['for a part of an instance', { resources: { ...g, gpuMilli: 1000n } }, 'rented whole, so ask for its 4 GPUs'],
    ['for more than an instance', { resources: { ...g, gpuMilli: 8000n } }, 'rented whole'],
    ['for some of its CPUs only', { flavour: 'm5', resources: { ...g, gpuMilli: 0n } }, 'ask for its 4 CPUs'],
    ['for a GPU where there is none', { flavour: 'm5', resources: { ...g, cpuMilli: 4000n } }, 'it has no GPU'],
    ['for more CPUs than it has', { resources: { ...g, cpuMilli: 49_000n } }, '48 CPUs'],
    ['for more memory than it has', { resources: { ...g, memoryBytes: 193n * 1024n ** 3n } }, '192 GiB'],
    ['for more nodes than the quota', { nodes: 9 }, 'at most so many nodes'],
    ['for a flavour that is none', { flavour: 'h100' }, 'no flavour h100'],
    [
      'for a role that the pool does not name',
      { options: { sagemaker: { roleArn: `arn:aws:iam::${ACCOUNT}:role/admin` } } },
      'none of the pool',
    ],
    ['for what is no option', { options: { sagemaker: { queue: 'x' } } }, 'options.sagemaker.queue'],
    ['for a variable that no process can carry', { env: { BIG: 'x'.repeat(140_000) } }, 'BIG has 140004 bytes'],
  ])('%s', async (_what, fields, text) => {
    const refused = await failureOf(world.provider.submit(world.spec(fields), world.signal));
    expect(refused).toMatchObject({ code: 'invalid', effect: 'none', message: expect.stringContaining(text) });
    expect(world.bucket.objects.size).toBe(0);
    expect(world.simulator.jobs.size).toBe(0);
  });

  test('for a VPC where the pool has its own, and for no image where it has none', async () => {
    const vpc = { subnets: ['subnet-1a'], securityGroupIds: ['sg-1'] };
    const closed = await world.open({ vpc });
    const asking = world.spec({ options: { sagemaker: { vpc } } });
    expect((await failureOf(closed.submit(asking, world.signal)))?.message).toContain('in its own VPC');
    await world.provider.submit(asking, world.signal);
    expect(world.simulator.job(asking.key).request.VpcConfig).toEqual({
      Subnets: ['subnet-1a'],
      SecurityGroupIds: ['sg-1'],
    });
  });
});

test('what the simulator refuses is told by its code, with its words and what to do', async () => {
  const submit = (fields = {}) => failureOf(world.provider.submit(world.spec(fields), world.signal));
  const m5 = { flavour: 'm5', resources: { gpuMilli: 0n, cpuMilli: 4000n, memoryBytes: 0n } };
  await world.provider.submit(world.spec({ ...m5, nodes: 2 }), world.signal);
  expect(await submit(m5)).toMatchObject({
    code: 'quota_exceeded',
    effect: 'none',
    message: expect.stringMatching(
      /^ask for more of this instance type in Service Quotas.*'ml.m5.xlarge for training job usage' is 2 Instances, with current utilization of 2/,
    ),
  });
  world.simulator.faults = { denied: 'CreateTrainingJob' };
  expect(await submit()).toMatchObject({
    code: 'auth',
    effect: 'none',
    message: expect.stringContaining('sagemaker:CreateTrainingJob'),
  });
  world.simulator.faults = { roleRefused: true };
  expect(await submit()).toMatchObject({
    code: 'auth',
    effect: 'none',
    message: expect.stringContaining('iam:PassRole'),
  });
  world.simulator.faults = {};
  const elsewhere = await world.open({ region: 'us-east-1' });
  expect(await failureOf(elsewhere.list('x', world.signal))).toMatchObject({ code: 'auth' });
});

test('a workdir is staged once by its content, a start for each attempt, and credentials are read at each call', async () => {
  const [a, b] = [world.spec({ workdir: 'test/support/sagemaker' }), world.spec({ workdir: 'test/support/sagemaker' })];
  await world.provider.submit(a, world.signal);
  world.simulator.expireCredentials();
  expect(await failureOf(world.provider.submit(b, world.signal))).toMatchObject({ code: 'auth', effect: 'none' });
  await world.simulator.renewCredentials();
  await world.provider.submit(b, world.signal);
  const names = [...world.bucket.objects.keys()].map((name) => name.replaceAll(/[0-9a-f]{64}/g, '#'));
  expect(names.sort()).toEqual([
    'example-merit/training/code/#/code.tar',
    `example-merit/training/runs/${a.key}/#/start.sh`,
    `example-merit/training/runs/${b.key}/#/start.sh`,
  ]);
});

test('what was staged and altered since is not run', async () => {
  const spec = world.spec({ workdir: 'test/support/sagemaker' });
  await world.provider.submit(spec, world.signal);
  for (const name of world.bucket.objects.keys())
    if (name.endsWith('code.tar')) world.bucket.objects.set(name, Buffer.from('evil'));
  const again = world.spec({ workdir: 'test/support/sagemaker' });
  const refused = await failureOf(world.provider.submit(again, world.signal));
  expect(refused).toMatchObject({ code: 'invalid', message: expect.stringContaining('was altered') });
  expect(world.simulator.jobs.has(again.key)).toBe(false);
});

test('the simulator refuses what the service’s own model refuses', () => {
  const good = {
    TrainingJobName: 'm-1',
    RoleArn: `arn:aws:iam::${ACCOUNT}:role/x`,
    OutputDataConfig: { S3OutputPath: 's3://bucket/x' },
  };
  const wrong = (fields: object) => modelProblems('CreateTrainingJob', { ...good, ...fields }).join();
  expect(wrong({})).toBe('');
  expect(wrong({ TrainingJobName: 'a_b' })).toContain('regular expression');
  expect(wrong({ TrainingJobName: 'x'.repeat(64) })).toContain('length less than or equal to 63');
  expect(wrong({ RoleArn: undefined })).toContain("Value null at 'RoleArn'");
  expect(wrong({ RoleArn: 'arn:aws:iam::1:role/x' })).toContain('RoleArn');
  expect(wrong({ Environment: { A: 'x'.repeat(513) } })).toContain('512');
  expect(wrong({ Environment: { 'a-b': '' } })).toContain('Environment.key');
  expect(wrong({ HyperParameters: { a: 'x\ny' } })).toContain('HyperParameters.a');
  expect(wrong({ ResourceConfig: { InstanceType: 'ml.none.large' } })).toContain('enum');
  expect(wrong({ Tags: [{ Key: 'a', Value: '!' }] })).toContain('Tags.1.member.Value');
  expect(wrong({ StoppingCondition: { MaxRuntimeInSeconds: 0 } })).toContain('greater than or equal to 1');
  expect(wrong({ InputDataConfig: [] })).toContain('InputDataConfig');
  expect(wrong({ Region: REGION })).toContain('no member');
  expect(modelProblems('ListTrainingJobs', { MaxResults: 101 }).join()).toContain('100');
});
