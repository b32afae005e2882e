import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { cleanMessage, type Handle, type Observation } from '../provider.ts';
import { type Exit, type Intent, isStopAsked, logPath } from './job-folder.ts';
import type { JobState } from './job-state.ts';

export const PROVIDER_KIND = 'local';
/** Of the log's end, in the message of a failure. */
const OUTPUT_TAIL_BYTES = 3_000;

export function handleOf(intent: Intent): Handle {
  return { provider: PROVIDER_KIND, id: intent.key, uid: intent.uid };
}

/** `inFlight`: this very process is submitting it now. */
export function observationOf(folder: string, found: JobState, inFlight: boolean): Observation {
  switch (found.state) {
    case 'none':
      return { state: 'absent' };
    case 'intended':
      // Left behind by a Merit that died between intent and start; the next one to open the root takes it away.
      return inFlight
        ? { state: 'pending', handle: handleOf(found.intent), message: 'is being started' }
        : { state: 'absent' };
    case 'starting':
      return { state: 'pending', handle: handleOf(found.intent), message: 'is being started' };
    case 'running':
      return { state: 'running', handle: handleOf(found.intent), startedAtMs: found.job.startedAtMs };
    case 'ended': {
      const { exit } = found;
      const outcome = outcomeOf(exit, isStopAsked(folder));
      return {
        state: 'ended',
        handle: handleOf(found.intent),
        outcome,
        exitCode: exit.exitCode ?? undefined,
        message: cleanMessage(messageOf(folder, exit, outcome)),
        startedAtMs: exit.startedAtMs ?? undefined,
        endedAtMs: exit.endedAtMs ?? undefined,
      };
    }
  }
}

function outcomeOf(exit: Exit, stopAsked: boolean): 'succeeded' | 'failed' | 'stopped' {
  if (stopAsked) return 'stopped';
  return exit.why === 'ended' && exit.exitCode === 0 ? 'succeeded' : 'failed';
}

function messageOf(folder: string, exit: Exit, outcome: 'succeeded' | 'failed' | 'stopped'): string {
  const how = howOf(exit);
  if (outcome !== 'failed') return how;
  const output = tailOf(logPath(folder));
  return output === '' ? how : `${how}, last output: ${output}`;
}

function howOf(exit: Exit): string {
  switch (exit.why) {
    case 'ended':
      return exit.signal === null ? `ended with exit code ${exit.exitCode}` : `ended by ${exit.signal}`;
    case 'lease':
      return 'ended because its lease was over';
    case 'never-started':
      return 'stopped before it began';
    case 'could-not-start':
      return 'could not be started';
    case 'lost':
      return 'ended without anybody seeing how: it was killed with its wrapper, or the machine went down';
  }
}

function tailOf(path: string): string {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch {
    return '';
  }
  try {
    const size = fstatSync(file).size;
    const bytes = Buffer.alloc(Math.min(size, OUTPUT_TAIL_BYTES));
    const read = readSync(file, bytes, 0, bytes.length, size - bytes.length);
    return bytes.subarray(0, read).toString('utf8');
  } finally {
    closeSync(file);
  }
}
