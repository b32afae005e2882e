import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { packCode, readCode } from '../../../artifacts/code.ts';
import { isEnded, type StateName } from '../../../core/booking.ts';
import { systemClock } from '../../../platform/clock.ts';
import type { Client } from '../client.ts';
import { CliError, EXIT } from '../exit.ts';
import { DIGITS_DIR, type DigitsRound, digitsRound } from './digits-files.ts';
import { trainIncumbent } from './train-incumbent.ts';

/** No step of the loop takes longer than this; each follows from numbers, this only ends a loop that hangs. */
const STEP_TIMEOUT_MS = 180_000;
const POLL_MS = 250;
/** Live traffic comes in a few slices at a time. */
const SLICES_A_POST = 5;

export interface Decision {
  readonly id: string;
  readonly action: 'promote' | 'demote';
  readonly model: string;
  readonly tick: string;
  readonly composite: number;
}

export interface Job {
  readonly id: string;
  readonly state: StateName;
  readonly attempt: number;
  readonly pool: string | null;
  readonly flavour: string | null;
  readonly provider: string | null;
  readonly handle: string | null;
  readonly reasons: readonly { readonly code: string; readonly text: string; readonly mend: string }[];
}

export interface ArtifactFile {
  readonly path: string;
  readonly size: number;
  readonly sha256: string;
}

/** What happened, as the closing table tells it. */
export interface LoopResult {
  readonly round: DigitsRound;
  readonly promoted: Decision;
  readonly demoted: Decision;
  readonly job: Job;
  readonly artifacts: { readonly manifestSha256: string; readonly files: readonly ArtifactFile[] };
  readonly cost: { readonly currency: string; readonly spent: string };
  readonly successor: Decision;
  readonly receiptFile: string;
}

export interface LoopOptions {
  readonly client: Client;
  /** `<stateDir>/example`: what a round leaves, so that an interrupted one goes on. */
  readonly folder: string;
  /** The venv's Python; undefined: the example's train.mjs on the local provider. */
  readonly python: string | undefined;
  readonly again: boolean;
  readonly say: (line: string) => void;
  readonly signal: AbortSignal;
}

/**
 * The closed loop on real numbers: an incumbent's live traffic drifts, it is demoted, its retrain is booked and run, and the new version is
 * promoted. A client of the HTTP API like any other. Every step may be repeated, so a round that was interrupted, or is over, runs through to its end.
 */
export async function runDigitsLoop(options: LoopOptions): Promise<LoopResult> {
  const { client, say, signal } = options;
  const run = await roundNumber(options.folder, options.again);
  const round = await digitsRound(run, options.python !== undefined);
  const folder = join(options.folder, String(run));

  say('1/7  applying pools, budget, suite and model');
  await register(client, round);

  say(
    `2/7  training ${round.incumbent} on ${String((round.training.train as { images: number }).images)} upright images`,
  );
  const live = await trainIncumbent({
    parameters: round.training,
    folder: join(folder, 'incumbent'),
    python: options.python,
    signal,
  });
  const turned = live.findIndex(
    (line) => (JSON.parse(line) as { labels: { driftDegrees: string } }).labels.driftDegrees !== '0',
  );

  say(`3/7  live traffic: ${turned} slices of upright digits`);
  await send(client, live.slice(0, turned), signal);
  const promoted = await decision(options, round, round.incumbent, 'promote');
  say(`     ${told(promoted)}`);

  say(`4/7  live traffic drifts: ${live.length - turned} slices of turned digits`);
  await send(client, live.slice(turned), signal);
  const demoted = await decision(options, round, round.incumbent, 'demote');
  say(`     ${told(demoted)}`);

  say('5/7  the demotion raises a retrain request; Merit books it');
  const job = await retrainJob(options, round);
  say(
    `     job ${job.id} ran as ${job.handle ?? '?'} on ${job.provider ?? '?'}, pool ${job.pool ?? '?'}/${job.flavour ?? '?'}`,
  );

  say('6/7  its outputs are stored with their checksums');
  const artifacts = await client.get<LoopResult['artifacts']>(`/v1/jobs/${job.id}/artifacts`);
  for (const file of artifacts.files) say(`     ${file.sha256.slice(0, 16)}…  ${file.path} (${file.size} bytes)`);

  say('7/7  the new version is judged by its own reports');
  const successor = await decision(options, round, `${round.modelName}-v2`, 'promote');
  say(`     ${told(successor)}`);

  const receiptFile = join(folder, 'receipt.jsonl');
  await until(options, 'the receipt', async () => {
    const reply = await client.request('GET', `/v1/jobs/${job.id}/receipt`);
    if (reply.status !== 200) return undefined;
    await writeFile(receiptFile, reply.bytes);
    return true;
  });
  return {
    round,
    promoted,
    demoted,
    job,
    artifacts,
    cost: await client.get(`/v1/jobs/${job.id}/cost`),
    successor,
    receiptFile,
  };
}

/** The round that runs, or ran last; `again` begins the next one. */
async function roundNumber(folder: string, again: boolean): Promise<number> {
  const file = join(folder, 'round.json');
  const last = await readFile(file, 'utf8').then(
    (text) => (JSON.parse(text) as { round: number }).round,
    () => 0,
  );
  const round = again || last === 0 ? last + 1 : last;
  await mkdir(folder, { recursive: true });
  await writeFile(file, JSON.stringify({ round }));
  return round;
}

async function register(client: Client, round: DigitsRound): Promise<void> {
  for (const pool of round.pools) await client.json('PUT', `/v1/pools/${String(pool.name)}`, { body: pool });
  await client.json('PUT', `/v1/budgets/${String(round.budget.division)}`, { body: round.budget });
  await client.json('PUT', `/v1/suites/${round.suiteName}`, { body: round.suite });
  const code = await client.json<{ code: string }>('PUT', '/v1/code', {
    raw: { type: 'application/zip', bytes: packCode(await readCode(DIGITS_DIR)) },
  });
  const retrain = { ...(round.model.retrain as object), workdir: code.code };
  await client.json('PUT', `/v1/models/${round.modelName}`, { body: { ...round.model, retrain } });
  await client.json('PUT', `/v1/models/${round.modelName}/versions/${round.incumbent}`, { body: {} });
}

async function send(client: Client, lines: readonly string[], signal: AbortSignal): Promise<void> {
  for (let from = 0; from < lines.length && !signal.aborted; from += SLICES_A_POST) {
    const bytes = Buffer.from(`${lines.slice(from, from + SLICES_A_POST).join('\n')}\n`);
    await client.json('POST', '/v1/eval-reports:batch', { raw: { type: 'application/x-ndjson', bytes } });
  }
}

function decision(
  options: LoopOptions,
  round: DigitsRound,
  model: string,
  action: Decision['action'],
): Promise<Decision> {
  const path = `/v1/promotions?suite=${round.suiteName}&model=${model}`;
  return until(options, `${model} to be ${action}d`, async () =>
    (await options.client.all<Decision>(path)).find((item) => item.action === action),
  );
}

async function retrainJob(options: LoopOptions, round: DigitsRound): Promise<Job> {
  let said = '';
  return until(options, 'the retrain job', async () => {
    const [job] = await options.client.all<Job>(`/v1/jobs?model=${round.modelName}`);
    if (job === undefined) return undefined;
    const line = `     job ${job.id}: ${job.state}${job.reasons.length === 0 ? '' : ` – ${job.reasons.map((reason) => reason.text).join('; ')}`}`;
    if (line !== said) options.say(line);
    said = line;
    if (!isEnded(job.state)) return undefined;
    if (job.state === 'released') return job;
    const reason = job.reasons[0];
    throw new CliError(
      EXIT.jobFailed,
      'retrain_failed',
      `the retrain job ended as ${job.state}: ${reason?.text ?? 'no reason is known'}`,
      { mend: `merit logs ${job.id}` },
    );
  });
}

async function until<T>(options: LoopOptions, what: string, look: () => Promise<T | undefined>): Promise<T> {
  const deadline = systemClock.now() + STEP_TIMEOUT_MS;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (options.signal.aborted)
      throw new CliError(EXIT.interrupted, 'interrupted', 'interrupted; the next start goes on from here');
    if (systemClock.now() > deadline) {
      throw new CliError(EXIT.unreachable, 'loop_stalled', `waited ${STEP_TIMEOUT_MS / 1000} s for ${what}`, {
        mend: 'see `merit ps`, `merit why JOB` and the server’s log',
      });
    }
    await systemClock.sleep(POLL_MS, options.signal);
  }
}

function told(decided: Decision): string {
  return `${decided.model} is ${decided.action}d at ${decided.tick}, composite ${decided.composite.toFixed(3)}`;
}
