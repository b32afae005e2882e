import { join } from 'node:path';
import { parseJsonObject } from '../../core/json.ts';
import { cleanMessage, type EndOutcome, ProviderError } from '../provider.ts';
import { type Owner, ownerFrom } from './ownership.ts';
import { fileMode, OddFile, type Part, SharedFolder } from './shared-folder.ts';

/**
 * An attempt's folder on the shared file system, where Merit and the job's nodes meet. Files appear whole and never change: attempt (whose it is) →
 * post-N (who asks Slurm for it) → job (what Slurm calls it) → claim (the one Slurm job that may run it, or a release that forbids it) → notice →
 * exit (how its command ended, by the job itself) → end (what was told of it at last). What Merit writes counts only where Merit's user wrote it; what is no
 * plain file is not there.
 */
const ATTEMPT = 'attempt';
const JOB = 'job';
export const CLAIM = 'claim';
export const NOTICE = 'notice';
export const EXIT = 'exit';
const END = 'end';
export const LOG = 'log';
/** What Slurm itself says of the job on its node. */
export const SLURM_LOG = 'slurm.log';
export const WORK = 'work';

/** By whom it may be run. */
export type Claim = { readonly by: 'job'; readonly job: number } | { readonly by: 'release' };

export interface Exit {
  readonly job: number;
  readonly code: number;
  /** What of Slurm’s came before: SIGTERM, or that it did not know the job any more when its nodes were to begin. */
  readonly before: 'nothing' | 'told' | 'lost';
  readonly startedAtMs: number;
  readonly endedAtMs: number;
  /** What the shell's `times` said of its children, in ms; absent where it said nothing. */
  readonly cpuMs?: number;
}

export interface End {
  readonly outcome: EndOutcome;
  readonly exitCode: number | undefined;
  readonly message: string;
  readonly startedAtMs: number | undefined;
  readonly endedAtMs: number | undefined;
}

/** What its files tell of how it was run. */
export interface Traces {
  readonly claim: Claim | undefined;
  readonly exit: Exit | undefined;
  readonly hasNotice: boolean;
  /** How it ended, as it was told once. */
  readonly end: End | undefined;
}

/** Who is asking Slurm for it, since when. */
export interface Post {
  readonly by: string;
  readonly atMs: number;
}

/** How often an attempt's submit may be taken over from somebody who did not come back. */
export const POSTS_LIMIT = 100;
const FILE_LIMIT_BYTES = 64 * 1024;
const RUNS = 'runs';
const NODE_SCRIPT = /^node-[0-9a-f]{64}\.sh$/;
/** However much a job left behind: what takes longer to remove stays. */
const CLEAN_LIMIT_MS = 5_000;

export class RunFolder {
  readonly path: string;
  readonly #shared: string;
  readonly #names: readonly string[];

  constructor(shared: string, key: string) {
    this.#shared = shared;
    this.#names = [RUNS, key];
    this.path = join(shared, ...this.#names);
  }

  async owner(): Promise<Owner | undefined> {
    const part = await this.#read(ATTEMPT);
    return part?.isOwn ? ownerFrom(part.bytes) : undefined;
  }

  /** Whose it is now: this owner's, or of whoever was first. */
  async own(owner: Owner): Promise<Owner> {
    await SharedFolder.make(this.#shared, [RUNS], 'merit');
    await SharedFolder.make(this.#shared, this.#names, 'jobs');
    if (await this.#writeOnce(ATTEMPT, owner)) return owner;
    const first = await this.owner();
    if (first === undefined) throw new ProviderError('transient', `${this.path}/${ATTEMPT} cannot be read`);
    return first;
  }

  async jobId(): Promise<number | undefined> {
    return (await this.#ownJson<{ readonly id: number }>(JOB))?.id;
  }

  async writeJobId(id: number): Promise<void> {
    await this.#writeOnce(JOB, { id });
  }

  /** The last who asked, and its number; 0 where nobody did. */
  async lastPost(): Promise<{ readonly number: number; readonly post: Post | undefined }> {
    let found: { readonly number: number; readonly post: Post | undefined } = { number: 0, post: undefined };
    for (let number = 1; number <= POSTS_LIMIT; number++) {
      const post = await this.#ownJson<Post>(`post-${number}`);
      if (post === undefined) break;
      found = { number, post };
    }
    return found;
  }

  /** False: somebody else took this number. */
  takePost(number: number, post: Post): Promise<boolean> {
    return this.#writeOnce(`post-${number}`, post);
  }

  /** It certainly had no effect. */
  async dropPost(number: number): Promise<void> {
    await this.#within((folder) => folder.unlink(`post-${number}`));
  }

  /** The folder is opened once, and read from the last file to the first: whoever sees an exit sees its claim. */
  async traces(): Promise<Traces> {
    const read = await this.#within(async (folder) => {
      const end = this.#ownJsonIn<End>(END, await partOf(folder, END));
      const exit = exitOf(await partOf(folder, EXIT));
      const hasNotice = (await partOf(folder, NOTICE)) !== undefined;
      return { claim: claimOf(await partOf(folder, CLAIM)), exit, hasNotice, end };
    });
    return read ?? { claim: undefined, exit: undefined, hasNotice: false, end: undefined };
  }

  async claim(): Promise<Claim | undefined> {
    return claimOf(await this.#read(CLAIM));
  }

  /** Nothing runs it any more; false: a job has claimed it. */
  forbid(): Promise<boolean> {
    return this.#writeOnce(CLAIM, { by: 'release' });
  }

  async giveNotice(): Promise<void> {
    await this.#writeOnce(NOTICE, {});
  }

  async exit(): Promise<Exit | undefined> {
    return exitOf(await this.#read(EXIT));
  }

  end(): Promise<End | undefined> {
    return this.#ownJson<End>(END);
  }

  /** The end that holds: this one, or what was told before. */
  async writeEnd(end: End): Promise<End> {
    return (await this.#writeOnce(END, end)) ? end : ((await this.end()) ?? end);
  }

  /** undefined: there is no such folder, and so no such attempt. Throws OddFile. */
  async readLog(fromByte: number, maxBytes: number): Promise<Uint8Array | undefined> {
    const part = await this.#within((folder) => folder.read(LOG, fromByte, maxBytes));
    if (part !== undefined) return part.bytes;
    return (await this.owner()) === undefined ? undefined : new Uint8Array();
  }

  /** The last of one of its logs, as text; '' where there is none. */
  async tail(name: string, bytes: number): Promise<string> {
    const part = await this.#within((folder) => plainPart(folder, name, -bytes, bytes));
    return part === undefined ? '' : cleanMessage(part.bytes.toString('utf8'));
  }

  /** For its nodes: mode 0600 where Merit is the jobs' user itself. False: it is there and is another one. */
  async putScript(name: string, bytes: Buffer, isForMeritAlone: boolean): Promise<boolean> {
    const mode = isForMeritAlone ? 0o600 : await fileMode(this.#shared);
    const isPut = await this.#within((folder) => putOnce(folder, name, bytes, mode));
    if (isPut === undefined) throw this.#gone();
    return isPut;
  }

  /** Of what nothing runs any more: the scripts with its environment, and where its command ran. Best effort. */
  async clean(): Promise<void> {
    const limit = AbortSignal.timeout(CLEAN_LIMIT_MS);
    await this.#within(async (folder) => {
      for (const name of await folder.names()) if (NODE_SCRIPT.test(name)) await folder.unlink(name);
      await folder.removeTree(WORK, limit);
    }).catch(() => {});
  }

  #within<T>(work: (folder: SharedFolder) => Promise<T>): Promise<T | undefined> {
    return SharedFolder.within(this.#shared, this.#names, work);
  }

  #read(name: string): Promise<Part | undefined> {
    return this.#within((folder) => partOf(folder, name));
  }

  async #ownJson<T>(name: string): Promise<T | undefined> {
    return this.#ownJsonIn<T>(name, await this.#read(name));
  }

  /** Only of Merit's own writing. */
  #ownJsonIn<T>(name: string, part: Part | undefined): T | undefined {
    if (!part?.isOwn) return undefined;
    try {
      return JSON.parse(part.bytes.toString('utf8')) as T;
    } catch (cause) {
      // They appear whole, so that it is a fault of the file system.
      throw new ProviderError('transient', `${this.path}/${name} is no JSON`, { cause });
    }
  }

  async #writeOnce(name: string, value: object): Promise<boolean> {
    const [bytes, mode] = [Buffer.from(JSON.stringify(value)), await fileMode(this.#shared)];
    const isFirst = await this.#within((folder) => folder.writeOnce(name, bytes, mode));
    if (isFirst === undefined) throw this.#gone();
    return isFirst;
  }

  #gone(): ProviderError {
    return new ProviderError('transient', `${this.path} is gone, or is no folder of Merit’s any more`);
  }
}

/** A small file whole; undefined where it is none. */
async function partOf(folder: SharedFolder, name: string): Promise<Part | undefined> {
  const part = await plainPart(folder, name, 0, FILE_LIMIT_BYTES);
  return part === undefined || part.size > FILE_LIMIT_BYTES ? undefined : part;
}

/** undefined also where it is no plain file. */
async function plainPart(
  folder: SharedFolder,
  name: string,
  fromByte: number,
  maxBytes: number,
): Promise<Part | undefined> {
  try {
    return await folder.read(name, fromByte, maxBytes);
  } catch (error) {
    if (error instanceof OddFile) return undefined;
    throw error;
  }
}

/** Named by its content: false where what is there is something else. */
export async function putOnce(folder: SharedFolder, name: string, bytes: Buffer, mode: number): Promise<boolean> {
  const there = await folder.read(name, 0, bytes.length);
  if (there === undefined) await folder.writeWhole(name, bytes, mode);
  else if (!there.isOwn || there.size !== bytes.length || !there.bytes.equals(bytes)) return false;
  return true;
}

/** A job may claim its attempt; that nobody may any more only Merit says. undefined: it says nothing. */
function claimOf(part: Part | undefined): Claim | undefined {
  const reading = part === undefined ? undefined : parseJsonObject(part.bytes);
  if (part === undefined || !reading?.ok) return undefined;
  const { by, job } = reading.value;
  if (by === 'release') return part.isOwn ? { by } : undefined;
  return by === 'job' && typeof job === 'number' ? { by, job } : undefined;
}

function exitOf(part: Part | undefined): Exit | undefined {
  const exit = part === undefined ? undefined : exitIn(part.bytes.toString('utf8'));
  if (part === undefined || exit === undefined) return undefined;
  // A job that ended did not end before it wrote so; its clock counts whole seconds.
  return { ...exit, endedAtMs: Math.max(exit.endedAtMs, Math.floor(part.changedAtMs / 1000) * 1000) };
}

const BEFORE = ['nothing', 'told', 'lost'] as const;

/** As start-script.ts writes it: job, exit code, what came before, beginning and end in seconds, then what `times` says. */
export function exitIn(text: string): Exit | undefined {
  const [job, code, before, started, ended, _own, children] = text.split('\n');
  const numbers = [job, code, started, ended].map(Number) as [number, number, number, number];
  if (ended === undefined || !numbers.every(Number.isSafeInteger)) return undefined;
  const cpuMs = children === undefined ? undefined : cpuMsOf(children);
  return {
    job: numbers[0],
    code: numbers[1],
    before: BEFORE.find((word) => word === before) ?? 'nothing',
    startedAtMs: numbers[2] * 1000,
    endedAtMs: numbers[3] * 1000,
    ...(cpuMs === undefined ? {} : { cpuMs }),
  };
}

/** `1m2.340000s 0m0.010000s`: in the user's and the system's time. */
function cpuMsOf(line: string): number | undefined {
  const found = [...line.matchAll(/(\d+)m([\d.]+)s/g)];
  if (found.length !== 2) return undefined;
  const ms = found.reduce((all, [, minutes, seconds]) => all + Number(minutes) * 60_000 + Number(seconds) * 1000, 0);
  return Number.isFinite(ms) ? Math.round(ms) : undefined;
}
