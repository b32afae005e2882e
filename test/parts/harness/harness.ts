import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { claimServer, endPart, liveServer, readParts, startKeeper } from '../../../platform/processes.ts';
import type { Part } from './part.ts';
import { type Instance, startInstance } from './place.ts';

const RUN_PREFIX = 'merit-parts-';
/** A folder of a run is not looked at while it may be just being made. */
const SETTLED_MS = 60_000;

/** Starts parts for the tests of one run, and ends them. */
export interface Harness {
  /** For whatever belongs to the run; gone after it. */
  readonly dir: string;
  /** The run's one instance of the part: started when it is first asked for. */
  shared(part: Part): Promise<unknown>;
  /** Another instance, with instances of its own of what it needs. */
  own(part: Part): Promise<Instance>;
  close(): Promise<void>;
}

/** A harness of this process. If the process is killed, its keeper ends the parts; the next run removes what is left of it. */
export async function openHarness(): Promise<Harness> {
  await sweep();
  const dir = mkdtempSync(join(tmpdir(), RUN_PREFIX));
  const claim = claimServer(dir);
  startKeeper(dir, { graceMs: 0 });
  const started: Instance[] = [];
  const sharedByName = new Map<string, Promise<unknown>>();

  const start = async (part: Part, factsOf: (needed: Part) => Promise<unknown>): Promise<Instance> => {
    const facts = new Map<string, unknown>();
    for (const needed of part.needs) facts.set(needed.name, await factsOf(needed));
    const instance = await startInstance(dir, part, facts);
    started.push(instance);
    return instance;
  };
  const shared = (part: Part): Promise<unknown> => {
    const known = sharedByName.get(part.name) ?? start(part, shared).then((instance) => instance.facts);
    sharedByName.set(part.name, known);
    return known;
  };
  const own = async (part: Part): Promise<Instance> => {
    const below: Instance[] = [];
    const instance = await start(part, async (needed) => {
      const one = await own(needed);
      below.push(one);
      return one.facts;
    });
    return {
      facts: instance.facts,
      stop: async () => {
        await instance.stop();
        for (const one of below.splice(0).toReversed()) await one.stop();
      },
    };
  };
  return {
    dir,
    shared,
    own,
    close: async () => {
      await Promise.allSettled(sharedByName.values());
      for (const instance of started.splice(0).toReversed()) await instance.stop();
      claim.release();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** Ends and removes what runs left that were killed together with their keepers. */
async function sweep(): Promise<void> {
  for (const name of readdirSync(tmpdir())) {
    const dir = join(tmpdir(), name);
    if (!name.startsWith(RUN_PREFIX)) continue;
    try {
      if (Date.now() - statSync(dir).mtimeMs < SETTLED_MS || liveServer(dir) !== undefined) continue;
      for (const part of readParts(dir).toReversed()) await endPart(part);
      rmSync(dir, { recursive: true, force: true });
    } catch {
      // Another user's, or gone meanwhile.
    }
  }
}
