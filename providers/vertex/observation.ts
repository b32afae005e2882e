import { cleanMessage, type EndOutcome, type Handle, type Observation, WORD_LIMIT } from '../provider.ts';
import { RPC, STOCKOUT } from './errors.ts';
import { handleOf } from './ownership.ts';
import { type CustomJob, millis } from './wire.ts';

const EXIT_STATUS = /\bnon-zero status of (\d{1,3})\b/i;
const PREEMPTED = /\bpreempt/i;
/** Faults of Google, or a want of machines or quota that showed only after the job was taken: nothing but another try mends them. */
const NOT_ITS_FAULT: readonly number[] = [RPC.resourceExhausted, RPC.aborted, RPC.internal, RPC.unavailable];

/** Vertex AI's job as Merit sees it. */
export function observationOf(key: string, job: CustomJob): Observation {
  const handle = handleOf(key, job.name);
  const startedAtMs = millis(job.startTime);
  switch (job.state) {
    case 'JOB_STATE_QUEUED':
      return { state: 'pending', handle, message: 'queued' };
    case 'JOB_STATE_PENDING':
      return { state: 'pending', handle, message: 'Vertex AI prepares its machines' };
    case 'JOB_STATE_PAUSED':
      return { state: 'pending', handle, message: 'paused' };
    case 'JOB_STATE_RUNNING':
    case 'JOB_STATE_UPDATING':
    case 'JOB_STATE_CANCELLING':
      return { state: 'running', handle, startedAtMs };
    case 'JOB_STATE_SUCCEEDED':
      return ended(handle, job, 'succeeded');
    case 'JOB_STATE_CANCELLED':
    case 'JOB_STATE_EXPIRED':
      return ended(handle, job, 'stopped');
    case 'JOB_STATE_FAILED':
    case 'JOB_STATE_PARTIALLY_SUCCEEDED':
      return ended(handle, job, failure(job));
    default:
      return { state: 'unknown-status', handle, word: cleanMessage(String(job.state)).slice(0, WORD_LIMIT) };
  }
}

function failure({ error }: CustomJob): EndOutcome {
  const { code, message } = error ?? {};
  const text = message ?? '';
  if (EXIT_STATUS.test(text)) return 'failed';
  if (PREEMPTED.test(text) || STOCKOUT.test(text) || NOT_ITS_FAULT.includes(code ?? 0)) return 'preempted';
  return code === RPC.deadlineExceeded ? 'stopped' : 'failed';
}

function ended(handle: Handle, job: CustomJob, outcome: EndOutcome): Observation {
  const text = job.error?.message ?? '';
  const exit = EXIT_STATUS.exec(text)?.[1];
  return {
    state: 'ended',
    handle,
    outcome,
    exitCode: outcome === 'succeeded' ? 0 : outcome === 'failed' && exit !== undefined ? Number(exit) : undefined,
    message: cleanMessage([text, ran(job)].filter((one) => one !== '').join(' · ')),
    startedAtMs: millis(job.startTime),
    endedAtMs: millis(job.endTime),
  };
}

/** What Google bills is near to it; the job itself tells no amount. */
function ran({ startTime, endTime, jobSpec }: CustomJob): string {
  const [fromMs, toMs] = [millis(startTime), millis(endTime)];
  if (fromMs === undefined || toMs === undefined) return '';
  const machines = (jobSpec?.workerPoolSpecs ?? []).reduce((all, pool) => all + Number(pool.replicaCount), 0);
  return `ran ${Math.ceil((toMs - fromMs) / 1000)} s${machines > 1 ? ` on each of ${machines} machines` : ''}`;
}
