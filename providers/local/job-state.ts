import { isAlive, processStart } from '../../platform/processes.ts';
import { hasEnvironment, runningProcesses } from '../process-table.ts';
import { JOB_MARK } from './job-environment.ts';
import {
  type Exit,
  type Intent,
  type JobProcess,
  readClaim,
  readExit,
  readIntent,
  readJob,
  writeExit,
} from './job-folder.ts';

/** How an attempt stands, read from its folder and the process table. */
export type JobState =
  | { readonly state: 'none' }
  /** Asked for, but no process runs it or ever may without another submit. */
  | { readonly state: 'intended'; readonly intent: Intent }
  | { readonly state: 'starting'; readonly intent: Intent; readonly wrapperPid: number }
  | {
      readonly state: 'running';
      readonly intent: Intent;
      readonly job: JobProcess;
      readonly wrapperPid: number | undefined;
    }
  | { readonly state: 'ended'; readonly intent: Intent; readonly exit: Exit };

/** Writes down, as `lost`, the end of a job that nobody saw end: its wrapper was killed, or the machine went down. */
export async function jobState(folder: string): Promise<JobState> {
  const intent = readIntent(folder);
  if (intent === undefined) return { state: 'none' };
  const claim = readClaim(folder);
  if (claim === undefined) return { state: 'intended', intent };
  const wrapperRuns = claim.by === 'wrapper' && isAlive(claim.pid, claim.startTime);
  // Read after the look at the wrapper: one that is gone has written all that it ever will.
  const exit = readExit(folder);
  if (exit !== undefined) return { state: 'ended', intent, exit };
  const job = readJob(folder);
  const wrapperPid = wrapperRuns ? claim.pid : undefined;
  if (wrapperPid !== undefined) {
    return job === undefined
      ? { state: 'starting', intent, wrapperPid }
      : { state: 'running', intent, job, wrapperPid };
  }
  if (job !== undefined && (await jobProcesses(folder, job)).length > 0)
    return { state: 'running', intent, job, wrapperPid };
  const lost: Exit = {
    exitCode: null,
    signal: null,
    why: claim.by === 'release' ? 'never-started' : 'lost',
    startedAtMs: job?.startedAtMs ?? null,
    endedAtMs: null,
  };
  writeExit(folder, lost);
  return { state: 'ended', intent, exit: readExit(folder) ?? lost };
}

/** The pids of what runs of a job: its process group, its session, and by the mark in their environment those that left both. */
export async function jobProcesses(folder: string, job: JobProcess | undefined): Promise<readonly number[]> {
  const all = await runningProcesses();
  const leaderStart = job === undefined ? undefined : processStart(job.pid);
  // A group outlives its leader, and its number is not given out while one member is left: only another process under it says no.
  const ownsGroup = job !== undefined && (leaderStart === undefined || leaderStart === job.startTime);
  const mark = `${JOB_MARK}=${folder}`;
  const own = await Promise.all(
    all.map(async (one) => {
      if (one.pid === process.pid) return false;
      if (ownsGroup && (one.groupId === job.pid || one.sessionId === job.pid)) return true;
      return hasEnvironment(one.pid, mark);
    }),
  );
  return all.filter((_one, index) => own[index]).map((one) => one.pid);
}
