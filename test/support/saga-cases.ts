import { exportBundle } from '../../ledger/audit/export.ts';
import { awaitSealed } from '../../ledger/audit/sequencer.ts';
import { verifyFile } from '../../ledger/audit/verify.ts';
import { systemClock } from '../../platform/clock.ts';
import { rootsOf } from './audit-story.ts';
import { ledgerLeaks } from './ledger-leaks.ts';
import { leaksOf, type Told, tell } from './saga-harness.ts';
import { furnish, type Story } from './saga-stories.ts';
import { FAULTS, type Fault, type Plan, UNDOS } from './saga-wire.ts';
import { type SagaWorld, sagaWorld } from './saga-world.ts';

/** One case: a story, and what happens at which node of it. */
export interface Case {
  readonly story: Story;
  readonly node: string;
  readonly fault: Fault;
  /** What then happens to each call that undoes, or to the first one of a name. */
  readonly undo?: { readonly fault: Fault; readonly name?: string };
}

export interface Outcome {
  /** undefined: of all that its world went through. */
  readonly of: Case | undefined;
  readonly told: Told;
}

export function nameOf({ story, node, fault, undo }: Case): string {
  const then = undo === undefined ? '' : `, then ${undo.fault} at ${undo.name ?? 'each undo'}`;
  return `${story.name}: ${fault} at ${node}${then}`;
}

/** Reading changes nothing: it can be away, or be the last that a process did. */
const READS =
  /^(desk\.(live|liveStamps|byId|facts|endedAttempts|manifest|quorum|unreachable|noteReasons|noteEtas)|logs\.(read|chunks)|runs\.read|store\.(get|head)|provider\.(observe|usage|logs)|retrain\.asEngine)#/;
/** What is asked again and again: its first calls stand for the others. */
const MAX_READS = 2;
/** A stream is taken once. */
const STREAMED = /^(store\.put|reports\.publish)#/;
/** Where a refusal undoes all that went before. */
const UNDONE = /^(finance\.hold|provider\.submit|finance\.confirm)#/;

function faultsAt(node: string): readonly Fault[] {
  if (READS.test(node)) return ['fail', 'repeat', 'crash-after'];
  return STREAMED.test(node) ? FAULTS.filter((fault) => fault !== 'repeat') : FAULTS;
}

/** Every node of a story that is its own, with each fault; where one undoes, with each fault of each undo after it. */
export function casesOf(story: Story, { nodes }: Told): readonly Case[] {
  const from = story.from === undefined ? 0 : nodes.indexOf(story.from);
  if (from < 0) throw new Error(`${story.name} never came to ${story.from}`);
  return nodes.slice(from).flatMap((node): readonly Case[] => {
    if (READS.test(node) && Number(node.slice(node.indexOf('#') + 1)) > MAX_READS) return [];
    const plain = faultsAt(node).map((fault): Case => ({ story, node, fault }));
    if (story.differsAfter?.test(node) === true) return plain.filter(({ fault }) => fault !== 'fail');
    if (!UNDONE.test(node)) return plain;
    const undone = UNDOS.filter((name) => name !== 'finance.settle').flatMap((name) =>
      FAULTS.map((fault): Case => ({ story, node, fault: 'fail', undo: { fault, name } })),
    );
    return [...plain, { story, node, fault: 'fail', undo: { fault: 'repeat' } }, ...undone];
  });
}

function planOf({ node, fault, undo }: Case): Plan {
  let begun = false;
  const hit = new Set<string>();
  return (at, name) => {
    if (at === node && !begun) {
      begun = true;
      return fault;
    }
    const isUndo = UNDOS.some((one) => one === name) && (undo?.name === undefined || undo.name === name);
    if (!begun || undo === undefined || !isUndo) return undefined;
    if (undo.name !== undefined && hit.has(name)) return undefined;
    hit.add(name);
    return undo.fault;
  };
}

/** Worlds at a time: most of a story is waiting. */
const MAX_WORLDS = 4;

/** Each case in a world that other cases went through before it, as a server goes through many; after one that hangs in a new one, which knows nothing of it. */
export async function runCases(cases: readonly Case[]): Promise<readonly Outcome[]> {
  const queue = cases.entries();
  const outcomes: Outcome[] = [];
  const worlds: SagaWorld[] = [];
  const worker = async (at: number) => {
    let world = await furnishedWorld();
    worlds[at] = world;
    for (const [, of] of queue) {
      const told = await outcomeOf(world, of);
      outcomes.push({ of, told });
      if (told.ends.length > 0) continue;
      await world.close();
      world = await furnishedWorld();
      worlds[at] = world;
    }
  };
  try {
    await Promise.all(Array.from({ length: Math.min(MAX_WORLDS, cases.length) }, (_, at) => worker(at)));
    // One after another: a check of a whole chain lets nothing else go on, and others' connections would be late by it.
    for (const world of worlds)
      outcomes.push({ of: undefined, told: { nodes: [], met: 0, ends: [], leaks: await trailLeaks(world) } });
  } finally {
    for (const world of worlds) await world?.close();
  }
  return outcomes;
}

async function outcomeOf(world: SagaWorld, of: Case): Promise<Told> {
  try {
    return await tell(world, of.story, planOf(of));
  } catch (error) {
    // What hangs is found as a leak, with whatever it holds.
    return { nodes: [], met: 1, ends: [], leaks: [String(error), ...(await leaksOf(world, []))] };
  }
}

export async function furnishedWorld(): Promise<SagaWorld> {
  const world = await sagaWorld();
  await furnish(world);
  return world;
}

/** What the invariants of ledger and trail say against a world, and a stranger's check of its chain. */
export async function trailLeaks({ database: { db }, signer }: SagaWorld): Promise<readonly string[]> {
  const broken = await ledgerLeaks(db);
  await awaitSealed(db, systemClock, AbortSignal.timeout(SEAL_LIMIT_MS));
  const bundle = Buffer.from((await Array.fromAsync(exportBundle(db))).join(''));
  const { code, findings } = verifyFile(bundle, rootsOf(signer));
  return [...broken, ...(code === 0 ? [] : [{ code, findings }])].map((one) => JSON.stringify(one, text));
}

const SEAL_LIMIT_MS = 60_000;
const text = (_key: string, value: unknown) => (typeof value === 'bigint' ? String(value) : value);

/** Story by fault: how many cases were run, and in how many the fault was met. */
export function tableOf(outcomes: readonly Outcome[]): string {
  const columns: readonly string[] = [...FAULTS, 'undo'];
  const rows = new Map<string, Map<string, number>>();
  const cases = outcomes.flatMap(({ of, told }) => (of === undefined ? [] : [{ of, told }]));
  for (const { of } of cases) {
    const row = rows.get(of.story.name) ?? new Map<string, number>();
    rows.set(of.story.name, row);
    const column = of.undo === undefined ? of.fault : 'undo';
    row.set(column, (row.get(column) ?? 0) + 1);
    row.set('nodes', (row.get('nodes') ?? 0) + (of.undo === undefined && of.fault === 'fail' ? 1 : 0));
  }
  const width = 16;
  const line = (cells: readonly (string | number)[]) =>
    cells
      .map((cell, i) => String(cell).padEnd(i === 0 ? 2 * width : width))
      .join('')
      .trimEnd();
  const body = [...rows].map(([name, row]) => {
    const counts = columns.map((column) => row.get(column) ?? 0);
    return line([name, row.get('nodes') ?? 0, ...counts, counts.reduce((sum, n) => sum + n, 0)]);
  });
  const met = cases.filter(({ told }) => told.met > 0).length;
  return [
    line(['saga', 'nodes', ...columns, 'all']),
    ...body,
    `${cases.length} cases, the fault met in ${met}, ${outcomes.flatMap(({ told }) => told.leaks).length} leaks`,
  ].join('\n');
}
