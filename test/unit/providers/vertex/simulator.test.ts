import { expect, test } from 'vitest';
import type { NewCustomJob, WorkerPoolSpec } from '../../../../providers/vertex/wire.ts';
import { listFilter } from '../../../support/vertex/list-filter.ts';
import { jobProblems } from '../../../support/vertex/service-rules.ts';

const POOL: WorkerPoolSpec = {
  machineSpec: { machineType: 'g2-standard-48', acceleratorType: 'NVIDIA_L4', acceleratorCount: 4 },
  replicaCount: 1,
  diskSpec: { bootDiskType: 'pd-ssd', bootDiskSizeGb: 100 },
  containerSpec: { imageUri: 'x:1', command: ['/bin/sh'] },
};
const GOOD: NewCustomJob = {
  displayName: 'x',
  labels: { team: 'search' },
  jobSpec: {
    workerPoolSpecs: [POOL],
    scheduling: { timeout: { seconds: 60 }, restartJobOnWorkerRestart: false, disableRetries: true, strategy: 'SPOT' },
  },
};
const spec = (fields: object) => ({ ...GOOD, jobSpec: { ...GOOD.jobSpec, ...fields } });
const pool = (fields: object) => spec({ workerPoolSpecs: [{ ...POOL, ...fields }] });
const machine = (machineType: string, acceleratorType?: string, acceleratorCount = 0) =>
  pool({ machineSpec: { machineType, acceleratorType, acceleratorCount } });

test('the simulator takes a job that is right', () => {
  expect(jobProblems(GOOD)).toEqual([]);
  expect(jobProblems(machine('n1-standard-8', 'NVIDIA_TESLA_T4', 2))).toEqual([]);
  expect(jobProblems(machine('n1-standard-8'))).toEqual([]);
  expect(jobProblems(machine('a3-highgpu-8g', 'NVIDIA_H100_80GB', 8))).toEqual([]);
});

test.each([
  ['custom_job.display_name', { ...GOOD, displayName: '' }],
  ['custom_job.display_name', { ...GOOD, displayName: 'x'.repeat(129) }],
  ['custom_job.labels', { ...GOOD, labels: { team: 'Search' } }],
  ['custom_job.labels', { ...GOOD, labels: { '1team': 'search' } }],
  ['custom_job.job_spec.worker_pool_specs', spec({ workerPoolSpecs: [] })],
  ['custom_job.job_spec.worker_pool_specs[0].replica_count', pool({ replicaCount: 2 })],
  [
    'custom_job.job_spec.worker_pool_specs[0].container_spec.image_uri',
    pool({ containerSpec: { imageUri: '', command: [] } }),
  ],
  ['custom_job.job_spec.worker_pool_specs[0].machine_spec.machine_type', machine('huge-standard-4')],
  ['custom_job.job_spec.worker_pool_specs[0].machine_spec.accelerator_type', machine('g2-standard-48')],
  ['custom_job.job_spec.worker_pool_specs[0].machine_spec.accelerator_type', machine('n1-standard-8', 'NVIDIA_L4', 1)],
  [
    'custom_job.job_spec.worker_pool_specs[0].machine_spec.accelerator_type',
    machine('e2-standard-8', 'NVIDIA_TESLA_T4', 1),
  ],
  [
    'custom_job.job_spec.worker_pool_specs[0].machine_spec.accelerator_count',
    machine('g2-standard-48', 'NVIDIA_L4', 1),
  ],
  [
    'custom_job.job_spec.worker_pool_specs[0].machine_spec.accelerator_count',
    machine('a2-highgpu-4g', 'NVIDIA_TESLA_A100', 8),
  ],
  ['custom_job.job_spec.worker_pool_specs[0].disk_spec.boot_disk_size_gb', pool({ diskSpec: { bootDiskSizeGb: 10 } })],
  ['custom_job.job_spec.worker_pool_specs[0].disk_spec.boot_disk_type', pool({ diskSpec: { bootDiskType: 'tape' } })],
  ['custom_job.job_spec.service_account', spec({ serviceAccount: 'me' })],
  ['custom_job.job_spec.network', spec({ network: 'projects/name/global/networks/x' })],
  ['custom_job.job_spec.reserved_ip_ranges', spec({ reservedIpRanges: ['x'] })],
  ['custom_job.job_spec.base_output_directory', spec({ baseOutputDirectory: { outputUriPrefix: 's3://x' } })],
  ['custom_job.job_spec.scheduling.timeout', spec({ scheduling: { timeout: { seconds: -1 } } })],
])('the simulator refuses a job by its %s', (field, job) => {
  const problems = jobProblems(job as NewCustomJob).map(([at]) => at);
  expect(problems.length).toBeGreaterThan(0);
  expect(problems[0]).toContain(field);
});

test('the simulator finds by the filters that the API documents, and refuses what it does not know', () => {
  const job = {
    displayName: 'm-1',
    state: 'JOB_STATE_FAILED',
    createdAtMs: Date.UTC(2027, 0, 1),
    labels: { merit_tag: 'a' },
  };
  for (const [filter, is] of [
    ['', true],
    ['display_name="m-1" AND labels.merit_tag:*', true],
    ['labels.merit_tag="a"', true],
    ['labels.merit_tag="b"', false],
    ['labels.other:*', false],
    ['state!="JOB_STATE_FAILED"', false],
    ['state="JOB_STATE_FAILED" AND create_time>"2026-12-31T00:00:00Z"', true],
    ['create_time>"2027-01-02T00:00:00Z"', false],
  ] as const)
    expect(listFilter(filter)(job), filter).toBe(is);
  for (const filter of ['name="x"', 'display_name~"m"', 'labels.a:b', 'create_time>"then"', 'state="a" OR state="b"'])
    expect(() => listFilter(filter), filter).toThrow('Invalid filter');
});
