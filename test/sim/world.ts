import { type BookingId, ulid } from '../../core/ids.ts';
import { jobSpec } from '../../core/job.ts';
import { StaleLeader } from '../../platform/postgres.ts';
import { ProviderError } from '../../providers/provider.ts';
import type { Booking } from '../../scheduler/apply/booking-store.ts';
import type { SagaContext } from '../../scheduler/apply/context.ts';
import { arrayTasks } from '../../scheduler/apply/create-booking.ts';
import { Allocator } from '../../scheduler/apply/engine.ts';
import { runReconciler } from '../../scheduler/reconcile/sweep.ts';
import { type Faults, Life, WELL } from './life.ts';
import { MemoryBooks, type Witness } from './memory-books.ts';
import { memoryDesk } from './memory-desk.ts';
import { Broken, Model } from './model.ts';
import { MemoryObjects, oneFile } from './objects.ts';
import { drawSetting, factsOf, openSetting, type Setting, TENANT } from './setting.ts';
import { SimFinance, SimSentinel } from './sim-peers.ts';
import { type JobChances, SimProvider } from './sim-provider.ts';
import { type Chance, Timeline } from './timeline.ts';

export const TAG = 'merit-sim';
const SWEEP_MS = 15_000;
const PLAN_MS = 2_000;
/** How long people take to sign. */
const PATIENCE_MS = [20, 1_500, 9_000];
const TRACE_ID = '0af7651916cd43dd8448eb211c80319c';

interface Running {
  readonly life: Life;
  readonly allocator: Allocator;
  readonly epoch: bigint;
  readonly stop: AbortController;
}

const QUIET = { info: () => {}, warn: () => {} };

/** Everything around the engine, and the engine: built from one seed, and driven by its timeline alone. */
export class World {
  readonly timeline = new Timeline();
  readonly chance: Chance;
  readonly setting: Setting;
  readonly faults: Faults = { ...WELL };
  readonly books: MemoryBooks;
  readonly model: Model;
  readonly finance = new SimFinance();
  readonly sentinel: SimSentinel;
  readonly providers = new Map<string, SimProvider>();
  readonly ids: BookingId[] = [];
  jobs: JobChances;
  /** Since when the audit trail is not sealed. */
  unsealedSinceMs: number | undefined;
  /** What the engine did that it may never do: fail by itself. */
  readonly crimes: string[] = [];
  /** Moved since the last look of the model at the whole ledger. */
  moved = false;
  #runs: Running[] = [];
  #lives = 0;

  constructor(chance: Chance) {
    this.chance = chance;
    this.setting = drawSetting(chance);
    this.jobs = drawJobs(chance);
    this.books = new MemoryBooks(this.#witness());
    this.sentinel = new SimSentinel(chance, this.timeline.now());
    for (const { name, spot, windowMs } of this.setting.pools) {
      const { timeline, faults } = this;
      const jobs = () => this.jobs;
      const onRelease = (key: string) => this.model.released(key);
      this.providers.set(
        name,
        new SimProvider({ pool: name, spot, windowMs, timeline, chance, faults, jobs, onRelease }),
      );
    }
    this.model = new Model(this);
    this.books.trailAgeMs = (nowMs) => (this.unsealedSinceMs === undefined ? 0 : nowMs - this.unsealedSinceMs);
    openSetting(this.setting, this.books, this.model);
  }

  #witness(): Witness {
    const told = () => {
      this.moved = true;
      return this.model;
    };
    return {
      created: (...of) => told().created(...of),
      moved: (epoch, changed) => {
        told().moved(epoch, changed);
        for (const { after } of changed) if (after.state.state === 'awaiting_signatures') this.#signLater(after);
      },
      noted: (...of) => this.model.noted(...of),
      expired: (...of) => told().expired(...of),
    };
  }

  /** People take their time, each booking's as long each time. */
  #signLater({ bookingId, specHash }: Booking): void {
    const ms = PATIENCE_MS[Number.parseInt(specHash.slice(1, 2), 16) % PATIENCE_MS.length] ?? 0;
    this.timeline.after(ms, () => {
      this.books.sign(bookingId, 'ben', this.timeline.now());
      this.tell(bookingId);
    });
  }

  get runs(): readonly Running[] {
    return this.#runs;
  }

  /** A process that was made leader: it begins from what is stored. */
  start(): void {
    this.books.epoch += 1n;
    const { epoch } = this.books;
    this.model.leads(epoch);
    const life = new Life(++this.#lives, this.timeline, this.chance);
    this.timeline.note(`${life.id} leads by epoch ${epoch}`);
    const stop = new AbortController();
    const context = this.#context(life, epoch);
    const allocator = new Allocator(context);
    const run: Running = { life, allocator, epoch, stop };
    this.#runs.push(run);
    // As runSeat has it: when one of the loops ends, all end; what is thrown is only ever StaleLeader.
    const ended = (error: unknown) => {
      stop.abort();
      if (error !== undefined && !(error instanceof StaleLeader)) this.crimes.push(`a loop ended: ${textOf(error)}`);
    };
    Promise.all([
      allocator.run(stop.signal).then(() => ended(undefined), ended),
      runReconciler(context, stop.signal).then(() => ended(undefined), ended),
    ]).then(() => {
      this.timeline.note(`${life.id} ended`);
      life.die();
      this.#runs = this.#runs.filter((one) => one !== run);
    });
  }

  crash(run: Running): void {
    this.timeline.note(`${run.life.id} crashes`);
    run.life.die();
    this.#runs = this.#runs.filter((one) => one !== run);
  }

  /** Whoever leads hears of it; or nobody does. */
  tell(id: string): void {
    if (this.faults.notTold > 0 && this.chance.is(this.faults.notTold)) return;
    const ms = this.chance.between(0, 50);
    for (const { life, allocator } of this.#runs) this.timeline.after(ms, () => life.go(() => allocator.wake(id)));
  }

  submit(file: object): void {
    const { chance, timeline } = this;
    const newId = () =>
      ulid(
        timeline.now(),
        Uint8Array.from({ length: 10 }, () => chance.between(0, 255)),
      );
    const spec = jobSpec({ name: 'train', run: 'true', outputs: 's3://sim/out', ...file });
    const bookingId = newId();
    const by = { tenant: TENANT, division: spec.division, requester: 'ada', traceId: TRACE_ID };
    const tasks = arrayTasks({ ...by, bookingId, actor: 'ada', spec, nowMs: timeline.now() }, newId);
    this.books.create(tasks, by, timeline.now());
    for (const { bookingId: id } of tasks) {
      this.ids.push(id);
      this.tell(id);
    }
    timeline.note(`submit ${tasks.map((task) => task.bookingId).join(' ')} ${JSON.stringify(file)}`);
  }

  #context(life: Life, epoch: bigint): SagaContext {
    const { books, faults, setting } = this;
    return {
      desk: memoryDesk(books, epoch, life, faults, (_tenant, away) => factsOf(setting, books, away)),
      clock: life.clock(),
      sentinelNet: this.sentinel.client(life, faults),
      finance: this.finance.client(life, faults),
      providers: {
        of: async (_tenant, pool) => this.providers.get(pool)!.client(life),
        health: async (_tenant, pool) => ({
          away: this.providers.get(pool)!.away ? 'connect ECONNREFUSED' : undefined,
          there: [],
        }),
      },
      store: new MemoryObjects(),
      publishReports: () => Promise.resolve(),
      stateDir: '/sim',
      s3Outputs: ['s3://sim/out'],
      s3: oneFile,
      planEveryMs: PLAN_MS,
      sweepEveryMs: SWEEP_MS,
      idempotencyRetentionMs: 86_400_000,
      tag: TAG,
      log: { ...QUIET, error: (fields, message) => this.#complained(fields, message) },
      metrics: NO_METRICS,
    };
  }

  /** The engine logs an error where a step threw what no step may throw. */
  #complained(fields: object, message: string): void {
    this.timeline.note(`error: ${message} ${JSON.stringify(fields)}`);
    if ('error' in fields && message.startsWith('a step failed')) this.crimes.push(`${message}: ${fields.error}`);
  }
}

const NO_METRICS: SagaContext['metrics'] = {
  transition: () => {},
  requestLatency: () => {},
  applied: () => {},
  extended: () => {},
  preempted: () => {},
  planned: () => {},
  waiting: () => {},
  reclaimHalted: () => {},
  financeDiffers: () => {},
  passedOver: () => {},
};

function textOf(error: unknown): string {
  if (error instanceof Broken || error instanceof ProviderError) return error.message;
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

function drawJobs(chance: Chance): JobChances {
  return {
    slowStart: chance.of([0, 0.1, 0.5]),
    fails: chance.of([0, 0.1, 0.3]),
    vanishes: chance.of([0, 0, 0.15]),
    reclaimed: chance.of([0, 0.2]),
    ignoresNotice: chance.of([0, 0.3, 1]),
    longestMs: chance.of([3_000, 20_000, 60_000]),
  };
}
