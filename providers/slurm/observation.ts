import { cleanMessage, type EndOutcome, type Handle, type Observation, WORD_LIMIT } from '../provider.ts';
import { isOverState, isRunningState, isWaitingState, type SlurmJob } from './job-record.ts';
import { isLive } from './jobs.ts';
import type { Claim, End, Exit, Traces } from './run-folder.ts';
import { NOT_CLAIMED } from './start-script.ts';

/** What is known of an attempt beside what Slurm says. */
export interface Facts extends Traces {
  /** When this provider saw it run, first and last. */
  readonly seen: Seen | undefined;
}

export interface Seen {
  readonly firstMs: number;
  readonly lastMs: number;
}

export type Sight =
  | { readonly is: 'told'; readonly observation: Observation }
  /** `slurm`: its words for it; '' where it has none any more. */
  | { readonly is: 'over'; readonly end: Omit<End, 'message'>; readonly slurm: string };

/** Requeued, against the request: Slurm would hold them for ever, and the claim lets them run no command. */
const HELD = /launch.failed.requeued.held|job.requeued.in.held.state|JobHoldMaxRequeue/i;
const NEVER_BEGAN = '(it never began on its node, or could not write into the shared folder there)';
const ENDED_BADLY: ReadonlySet<string> = new Set(['FAILED', 'OUT_OF_MEMORY', 'TIMEOUT', 'DEADLINE']);
/** What says nothing of the command's own end: it may have come before. */
const OF_THE_JOB_ALONE: ReadonlySet<string> = new Set(['CANCELLED', 'NODE_FAIL', 'BOOT_FAIL', 'PREEMPTED', 'REVOKED']);
const OUTCOMES: Readonly<Record<string, EndOutcome>> = {
  COMPLETED: 'succeeded',
  FAILED: 'failed',
  OUT_OF_MEMORY: 'failed',
  CANCELLED: 'stopped',
  TIMEOUT: 'stopped',
  DEADLINE: 'stopped',
  NODE_FAIL: 'preempted',
  BOOT_FAIL: 'preempted',
  PREEMPTED: 'preempted',
  REVOKED: 'preempted',
};

/**
 * Of several jobs of one attempt the one that claimed it, whether it is still known or not; before that what lives, or the first. What certainly ran counts,
 * whatever was written down: a claim is in a job's hand, and hides no end that Slurm knows.
 */
export function theOne(jobs: readonly SlurmJob[], claim: Claim | undefined): SlurmJob | undefined {
  if (claim?.by !== 'job') return jobs.find(isLive) ?? jobs[0];
  return jobs.find(({ id }) => id === claim.job) ?? jobs.find(hasRun);
}

/** One that finds its attempt claimed ends at once, and says so. */
function hasRun({ state, exitCode }: SlurmJob): boolean {
  return isRunningState(state) || (ENDED_BADLY.has(state) && exitCode !== NOT_CLAIMED);
}

/** What is known of an attempt: by Slurm, and by what its job wrote down. */
export function sightOf(handle: Handle, job: SlurmJob | undefined, facts: Facts): Sight {
  const { exit, end, seen } = facts;
  if (end !== undefined) return told({ state: 'ended', handle, ...end });
  if (job === undefined) return withoutJob(facts);
  if (isWaitingState(job.state)) return waiting(handle, job, facts);
  if (isRunningState(job.state)) {
    // Slurm still ends its last processes: what it held is not free.
    return told({ state: 'running', handle, startedAtMs: job.startedAtMs });
  }
  if (!isOverState(job.state)) return told({ state: 'unknown-status', handle, word: wordOf(job.state) });
  const own = exit?.job === job.id ? exit : undefined;
  const outcome = outcomeOf(job, own, facts);
  const hasBegun = facts.claim?.by === 'job';
  const isOwnCode = OF_THE_JOB_ALONE.has(job.state) || job.state === 'COMPLETED' || job.exitCode === NOT_CLAIMED;
  return {
    is: 'over',
    end: {
      outcome,
      exitCode: exitCodeOf(outcome, hasBegun ? ((isOwnCode ? own?.code : undefined) ?? job.exitCode) : undefined),
      startedAtMs: hasBegun ? job.startedAtMs : undefined,
      endedAtMs: job.endedAtMs ?? timesOf(own, seen).endedAtMs,
    },
    slurm: [job.state, job.reason === 'None' ? '' : job.reason, job.description, hasBegun ? '' : NEVER_BEGAN]
      .filter((one) => one !== '')
      .join(' '),
  };
}

/** slurmctld forgets what ended MinJobAge ago (300 s, where nobody set another). */
function withoutJob({ claim, exit, hasNotice, seen }: Facts): Sight {
  if (exit !== undefined) {
    const outcome = hasNotice ? 'stopped' : exit.before !== 'nothing' ? 'preempted' : ownOutcome(exit);
    return {
      is: 'over',
      end: { outcome, exitCode: exitCodeOf(outcome, exit.code), ...timesOf(exit, seen) },
      slurm: outcome === 'preempted' ? 'Slurm ended it, and does not know any more why' : '',
    };
  }
  if (claim?.by === 'release') {
    const never = { exitCode: undefined, startedAtMs: undefined, endedAtMs: undefined };
    return { is: 'over', end: { outcome: 'stopped', ...never }, slurm: 'stopped before it began' };
  }
  return told({ state: 'absent' });
}

/** A job's own word for when it ran, which reaches at least as far as it was seen to run. */
function timesOf(exit: Exit | undefined, seen: Seen | undefined): Pick<End, 'startedAtMs' | 'endedAtMs'> {
  if (exit === undefined) return { startedAtMs: undefined, endedAtMs: undefined };
  const endedAtMs = Math.max(exit.endedAtMs, seen?.lastMs ?? exit.endedAtMs);
  return { startedAtMs: Math.min(exit.startedAtMs, seen?.firstMs ?? endedAtMs, endedAtMs), endedAtMs };
}

function waiting(handle: Handle, job: SlurmJob, { claim, exit, seen }: Facts): Sight {
  const isHeld = HELD.test(`${job.reason} ${job.description}`);
  // Not by the claim alone: Slurm may have been asked before the job began.
  const ran = claim?.by === 'job' && job.restarts > 0;
  if (!isHeld && !ran) {
    const words = [job.state === 'PENDING' ? '' : job.state, job.reason, job.description];
    return told({ state: 'pending', handle, message: cleanMessage(words.filter((one) => one !== '').join(' ')) });
  }
  const outcome = exit?.code === 0 ? 'succeeded' : ran ? 'preempted' : 'failed';
  return {
    is: 'over',
    end: { outcome, exitCode: exitCodeOf(outcome, exit?.code), ...timesOf(exit, seen) },
    slurm: ran ? 'Slurm put it back into its queue' : `${job.reason} ${job.description}`.trim(),
  };
}

function outcomeOf(job: SlurmJob, exit: Exit | undefined, { hasNotice, claim }: Facts): EndOutcome {
  if (hasNotice || claim?.by === 'release') return 'stopped';
  // One that was put back finds its attempt claimed, by itself, and ends at once. One that has nodes and never claimed it never began: a node that cannot
  // launch it has it cancelled; and a slurmctld that lost its last moments gives a number again, and takes the end of the job that had it for this one's.
  const neverBegan = claim === undefined && job.nodes !== '' && ['COMPLETED', 'CANCELLED'].includes(job.state);
  // Started twice by a slurmctld that had forgotten the first: what ended is the second, and the command's own end stands in the folder alone.
  const isSecond = claim?.by === 'job' && job.exitCode === NOT_CLAIMED && exit?.code !== NOT_CLAIMED;
  const isNone = neverBegan || isSecond || (job.restarts > 0 && exit === undefined);
  const outcome = isNone ? 'preempted' : (OUTCOMES[job.state] ?? 'failed');
  if (exit === undefined || exit.before === 'told') return outcome;
  if (exit.before === 'lost') return 'preempted';
  if (isSecond) return ownOutcome(exit);
  // Where Slurm has the command's code, a job makes its end no better than that.
  if (!isNone && !OF_THE_JOB_ALONE.has(job.state)) return outcome === 'succeeded' ? ownOutcome(exit) : outcome;
  // The command ended by itself, whatever became of its job or its node after that; what a lost node did to a gang is no failure of it.
  return outcome === 'preempted' && exit.code !== 0 ? outcome : ownOutcome(exit);
}

function ownOutcome({ code }: Exit): EndOutcome {
  return code === 0 ? 'succeeded' : 'failed';
}

function exitCodeOf(outcome: EndOutcome, code: number | undefined): number | undefined {
  return outcome === 'succeeded' ? 0 : outcome === 'failed' ? code : undefined;
}

function told(observation: Observation): Sight {
  return { is: 'told', observation };
}

function wordOf(text: string): string {
  return cleanMessage(text).slice(0, WORD_LIMIT);
}
