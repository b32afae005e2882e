import type { Faults } from './life.ts';
import { requota, resize } from './setting.ts';
import type { Chance } from './timeline.ts';
import { TAG, type World } from './world.ts';

type Action = (world: World) => void;

/** What can happen in between, and how often beside the others. A seed draws which of it happens at all. */
export const ACTIONS: Readonly<Record<string, { readonly weight: number; readonly act: Action }>> = {
  submit: { weight: 15, act: submit },
  cancel: {
    weight: 6,
    act: (world) => withBooking(world, (id) => world.books.cancel(id, 'ada', world.timeline.now())),
  },
  hold: {
    weight: 3,
    act: (world) => withBooking(world, (id) => world.books.hold(id, 'hold', 'ada', world.timeline.now())),
  },
  letGo: {
    weight: 4,
    act: (world) => withBooking(world, (id) => world.books.hold(id, 'let_go', 'ada', world.timeline.now())),
  },
  extend: { weight: 10, act: extend },
  resize: { weight: 2, act: resizePool },
  requota: { weight: 2, act: changeQuota },
  cordon: { weight: 1, act: (world) => flip(world, 'cordoned') },
  drainPool: { weight: 1, act: (world) => flip(world, 'draining') },
  policy: { weight: 4, act: changePolicy },
  refusal: { weight: 1, act: (world) => void world.finance.refuses++ },
  crash: { weight: 5, act: crash },
  usurp: { weight: 2, act: usurp },
  stop: { weight: 1, act: stop },
  providerAway: { weight: 3, act: providerAway },
  providerFull: { weight: 2, act: providerFull },
  amnesia: { weight: 1, act: amnesia },
  peerAway: { weight: 2, act: peerAway },
  unsealed: { weight: 1, act: unsealed },
  plant: { weight: 1, act: plant },
};

/** Times that a fault of the world lasts. */
const LASTS_MS = [2_000, 20_000, 120_000, 700_000];

export function drawFaults(chance: Chance): Faults {
  const some = (most: number) => (chance.is(0.5) ? 0 : chance.draw() * most);
  return {
    lost: some(0.1),
    replyLost: some(0.15),
    twice: some(0.1),
    late: some(0.05),
    deskAway: some(0.05),
    notTold: some(0.5),
  };
}

/** The actions that a seed knows, each as often as its weight says. */
export function drawActions(chance: Chance): readonly Action[] {
  return Object.entries(ACTIONS).flatMap(([name, { weight, act }]) => {
    if (name !== 'submit' && chance.is(0.5)) return [];
    const named: Action = (world) => {
      world.timeline.note(name);
      act(world);
    };
    return Array.from({ length: weight }, () => named);
  });
}

function submit(world: World): void {
  const { chance, setting, ids } = world;
  if (ids.length >= MAX_BOOKINGS) return;
  const pools = setting.pools.map(({ name }) => name);
  const nodes = chance.is(0.2) ? chance.between(2, 3) : 1;
  const dependsOn = ids.length > 0 && chance.is(0.2) ? [chance.of(ids)] : undefined;
  const array = chance.is(0.15) ? { count: chance.between(2, 4), max_parallel: chance.between(1, 2) } : undefined;
  const recovery = {
    ...(chance.is(0.3) ? { max_preemptions: chance.between(0, 2) } : {}),
    ...(chance.is(0.5) ? { grace: chance.of(['5s', '60s']) } : {}),
  };
  world.submit({
    division: chance.of(setting.divisions).name,
    resources: { gpus: chance.between(1, 3) },
    pools: chance.is(0.7) ? pools : [chance.of(pools)],
    lease: chance.of(['10s', '30s', '60s', '10m']),
    priority: chance.between(0, 2),
    max_restarts: chance.between(0, 2),
    ...(nodes === 1 ? {} : { num_nodes: nodes, ...(chance.is(0.5) ? { min_nodes: 1 } : {}) }),
    ...(dependsOn === undefined ? {} : { depends_on: dependsOn }),
    ...(array === undefined ? {} : { array }),
    ...(Object.keys(recovery).length === 0 ? {} : { recovery }),
    ...(chance.is(0.1) ? { schedule: { deadline: new Date(world.timeline.now() + 60_000).toISOString() } } : {}),
  });
}

const MAX_BOOKINGS = 24;

/** Mostly of one that runs, and not seldom of one that Finance has no money for. */
function extend(world: World): void {
  const { chance, model, books, timeline, ids } = world;
  const runs = [...model.known.values()].filter(({ booking }) => booking.state.state === 'applied');
  const id = runs.length > 0 && chance.is(0.9) ? chance.of(runs).booking.bookingId : ids[0];
  if (id === undefined) return;
  timeline.note(id);
  if (chance.is(0.2)) world.finance.refuses++;
  books.extend(id, chance.of([10_000, 60_000, 3_600_000]), 'ada', timeline.now());
  world.tell(id);
}

function withBooking(world: World, act: (id: string) => void): void {
  if (world.ids.length === 0) return;
  const id = world.chance.of(world.ids);
  world.timeline.note(id);
  act(id);
  world.tell(id);
}

function resizePool({ chance, setting, books, model }: World): void {
  resize(chance.of(setting.pools), chance.between(0, 8), books, model);
}

function changeQuota({ chance, setting, books, model }: World): void {
  requota(setting, chance.of(setting.divisions), chance.between(0, 4), books, model);
}

function flip({ chance, setting }: World, what: 'cordoned' | 'draining'): void {
  const pool = chance.of(setting.pools);
  pool[what] = !pool[what];
}

/** Often of a division that is just about to have something applied. */
function changePolicy({ chance, setting, sentinel, timeline, model }: World): void {
  const near = [...model.known.values()].filter(({ booking }) => NEARLY.has(booking.state.state));
  const denied = near.length > 0 ? chance.of(near).booking.division : chance.of(setting.divisions).name;
  sentinel.change(chance.is(0.4) ? [] : [denied], timeline.now());
}

export const NEARLY: ReadonlySet<string> = new Set(['reserved', 'requesting', 'confirming']);

function crash(world: World): void {
  const { chance, timeline, runs } = world;
  if (runs.length === 0) return;
  world.crash(chance.of(runs));
  if (world.runs.length === 0) timeline.after(chance.of([10, 3_000, 60_000, 700_000]), () => ensureLeader(world));
}

export function ensureLeader(world: World): void {
  const leads = world.runs.some(
    ({ epoch, life, stop }) => epoch === world.books.epoch && !life.frozen && !stop.signal.aborted,
  );
  if (!leads) world.start();
}

/** The leader is frozen past its lease; another process is nominated; then the first one wakes up. */
function usurp(world: World): void {
  const { chance, timeline, runs } = world;
  if (runs.length !== 1) return;
  const { life } = runs[0]!;
  if (chance.is(0.8)) life.freeze();
  timeline.note(`${life.id} is passed over`);
  world.start();
  timeline.after(chance.between(100, 90_000), () => {
    timeline.note(`${life.id} wakes up`);
    life.wakeUp();
  });
}

/** Asked to end: its steps under way go on to their ends. */
function stop(world: World): void {
  for (const { stop: asked } of world.runs) asked.abort();
  world.timeline.after(world.chance.of([100, 60_000]), () => ensureLeader(world));
}

function providerAway({ chance, providers, timeline }: World): void {
  const provider = chance.of([...providers.values()]);
  provider.away = true;
  timeline.after(chance.of(LASTS_MS), () => {
    provider.away = false;
  });
}

function providerFull({ chance, providers, timeline }: World): void {
  const provider = chance.of([...providers.values()]);
  provider.full = true;
  timeline.after(chance.of(LASTS_MS), () => {
    provider.full = false;
  });
}

function amnesia({ chance, providers, timeline }: World): void {
  const provider = chance.of([...providers.values()]);
  provider.amnesia = true;
  timeline.after(chance.of([500, 20_000]), () => {
    provider.amnesia = false;
  });
}

function peerAway({ chance, finance, sentinel, timeline }: World): void {
  const peer = chance.of([finance, sentinel]);
  peer.away = true;
  timeline.after(chance.of(LASTS_MS), () => {
    peer.away = false;
  });
}

function unsealed(world: World): void {
  world.unsealedSinceMs ??= world.timeline.now();
  world.timeline.after(world.chance.of(LASTS_MS), () => {
    world.unsealedSinceMs = undefined;
  });
}

/** Something of ours that no booking owns, or something of somebody else. */
function plant({ chance, providers, timeline }: World): void {
  const provider = chance.of([...providers.values()]);
  const isOurs = chance.is(0.5);
  provider.plant(`${isOurs ? 'm-orphan' : 'theirs'}-${timeline.now()}`, isOurs ? TAG : 'somebody-else');
}
