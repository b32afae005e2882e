import { randomUUID } from 'node:crypto';
import type { Clock } from '../../platform/clock.ts';
import { checkedOptions } from '../cloud/option-check.ts';
import { type AttemptSpec, checkAttempt, type Handle, ProviderError } from '../provider.ts';
import type { Flavour, SlurmConfig } from './config.ts';
import { jobOptionsRefusals, type SlurmJobOptions } from './job-options.ts';
import type { Jobs } from './jobs.ts';
import { checkIsOwner, checkName, handleOf, ownerOf, PROVIDER_KIND } from './ownership.ts';
import { checkAllowed, checkFits, requestOf } from './request.ts';
import type { RestClient } from './rest-client.ts';
import { POSTS_LIMIT, RunFolder } from './run-folder.ts';
import { stage } from './staging.ts';

/** Whoever asked Slurm longer ago than this and did not come back never will: its call had at most half of it. */
const POST_LIMIT_MS = 60_000;
const LOOK_EVERY_MS = 200;

export interface SubmitSettings {
  readonly config: SlurmConfig;
  readonly rest: RestClient;
  readonly jobs: Jobs;
  readonly clock: Clock;
  readonly flavours: readonly Flavour[];
  /** Of this open provider: what it has under way it knows, and what it has not under way is over. */
  readonly me: string;
  /** Set once slurmrestd was seen to submit as the pool's user. */
  isUserSeen: boolean;
}

/**
 * Slurm takes any name any number of times, so that the shared folder decides: whose the key is, who asks Slurm for it, and in the end which job may run
 * it (start-script.ts). Throws ProviderError.
 */
export async function submitAttempt(settings: SubmitSettings, spec: AttemptSpec, signal: AbortSignal): Promise<Handle> {
  const { flavour, options } = checkedSpec(settings, spec);
  if (signal.aborted) throw new ProviderError('transient', `stopped before ${spec.key} was submitted`);
  const folder = new RunFolder(settings.config.shared, spec.key);
  const owner = await folder.own(ownerOf(spec, randomUUID()));
  checkIsOwner(spec, owner);
  const handle = handleOf(spec.key, owner);
  if (await isTaken(settings, folder, spec.key, signal)) return handle;
  const places = await stage(settings.config, folder, spec, settings.clock.now(), signal);
  const number = await takeTurn(settings, folder, spec.key, signal);
  if (number === undefined) return handle;
  const id = await post(
    settings,
    folder,
    number,
    requestOf(spec, owner, flavour, options, places, settings.config),
    signal,
  );
  await checkUser(settings, id, signal);
  return handle;
}

/** Slurm has it, or had it, or nobody may run it any more. */
async function isTaken({ jobs }: SubmitSettings, folder: RunFolder, key: string, signal: AbortSignal) {
  if ((await folder.jobId()) !== undefined || (await folder.claim()) !== undefined) return true;
  return (await jobs.list(signal)).has(key);
}

/** The number under which this process may ask Slurm; undefined: meanwhile another one has. */
async function takeTurn(
  settings: SubmitSettings,
  folder: RunFolder,
  key: string,
  signal: AbortSignal,
): Promise<number | undefined> {
  const { clock, me } = settings;
  for (;;) {
    const { number, post } = await folder.lastPost();
    const isOver = post === undefined || post.by === me || clock.now() - post.atMs > POST_LIMIT_MS;
    if (isOver) {
      if (number >= POSTS_LIMIT)
        throw new ProviderError('invalid', `${key} was submitted ${POSTS_LIMIT} times in vain`);
      if (await folder.takePost(number + 1, { by: me, atMs: clock.now() })) {
        if (!(await isTaken(settings, folder, key, signal))) return number + 1;
        await folder.dropPost(number + 1);
        return undefined;
      }
    }
    await clock.sleep(LOOK_EVERY_MS, signal);
    if (signal.aborted)
      throw new ProviderError('transient', `another submit of ${key} is under way`, { effect: 'unknown' });
    if (await isTaken(settings, folder, key, signal)) return undefined;
  }
}

async function post(
  { rest }: SubmitSettings,
  folder: RunFolder,
  number: number,
  request: ReturnType<typeof requestOf>,
  signal: AbortSignal,
): Promise<number> {
  const doing = `submitting ${request.job.name}`;
  let id: number | undefined;
  try {
    id = idIn(await rest.ask({ doing, method: 'POST', path: 'job/submit', body: request, signal, silent: hasId }));
  } catch (error) {
    if (error instanceof ProviderError && error.effect === 'none') await folder.dropPost(number);
    throw error;
  }
  if (id === undefined) throw new ProviderError('transient', `${doing}: Slurm told no job_id`, { effect: 'unknown' });
  await folder.writeJobId(id).catch((cause: unknown) => {
    throw new ProviderError('transient', `${doing}: job ${id} could not be written down`, { effect: 'done', cause });
  });
  return id;
}

/** A job of another user than the pool's would be nobody's: it is looked at once. */
async function checkUser(settings: SubmitSettings, id: number, signal: AbortSignal): Promise<void> {
  if (settings.isUserSeen) return;
  // That it cannot be seen now says nothing of it.
  const job = await settings.jobs.get(id, signal).catch(() => undefined);
  if (job === undefined) return;
  settings.isUserSeen = job.user === settings.config.user;
  if (settings.isUserSeen) return;
  await settings.jobs.cancel(job, signal);
  const text = `slurmrestd submits as ${job.user}, and the pool says ${settings.config.user}: name that user, or give it its token`;
  throw new ProviderError('auth', text);
}

/** Slurm took it, though it may have something to say: that it waits for a partition of another form. */
function hasId(_numbers: readonly (number | undefined)[], body: unknown): boolean {
  return idIn(body) !== undefined;
}

function idIn(body: unknown): number | undefined {
  const { job_id: id } = (body ?? {}) as { readonly job_id?: unknown };
  return typeof id === 'number' && id > 0 ? id : undefined;
}

function checkedSpec(
  { config, flavours }: SubmitSettings,
  spec: AttemptSpec,
): { readonly flavour: Flavour; readonly options: SlurmJobOptions } {
  checkAttempt(spec);
  checkName(spec.key);
  const flavour = flavours.find((one) => one.name === spec.flavour);
  if (flavour === undefined) throw new ProviderError('invalid', `this pool has no flavour ${spec.flavour}`);
  checkFits(spec, flavour);
  const options = checkedOptions<SlurmJobOptions>(spec.options?.[PROVIDER_KIND], jobOptionsRefusals);
  checkAllowed(config, options);
  return { flavour, options };
}
