import { randomBytes } from 'node:crypto';
import { statementHash } from '../../core/approval.ts';
import { isEnded } from '../../core/booking.ts';
import { attemptKey, type BookingId, ulid } from '../../core/ids.ts';
import type { JobSpec } from '../../core/job.ts';
import { moneySpec } from '../../core/money-request.ts';
import { parseSuite } from '../../core/suite.ts';
import { systemClock } from '../../platform/clock.ts';
import type { Tx } from '../../platform/postgres.ts';
import { applyDocuments } from '../../pools/apply-documents.ts';
import { parseDocument } from '../../pools/documents.ts';
import type { Booking } from '../../scheduler/apply/booking-store.ts';
import { cancelBooking } from '../../scheduler/apply/cancel.ts';
import { bookMoney, closeMoney } from '../../scheduler/apply/close-money.ts';
import { askExtension } from '../../scheduler/apply/extend.ts';
import type { Proposal } from '../../scheduler/signatures/proposal.ts';
import { liveProposal } from '../../scheduler/signatures/proposals.sql.ts';
import { proposeRevoke } from '../../scheduler/signatures/revoke.ts';
import { signProposal } from '../../scheduler/signatures/sign.ts';
import { parseModel } from '../../scoring/registry/model-document.ts';
import { addVersion, registerModel } from '../../scoring/registry/models.ts';
import { applySuite } from '../../scoring/registry/suites.ts';
import { requestRetrain } from '../../scoring/retrain/request-retrain.ts';
import { POOL, type SagaWorld, TENANT } from './saga-world.ts';
import { signingPolicy, type TestKey, testKey } from './signers.ts';

/**
 * The sagas as stories: what people ask for, and what they and the jobs do as they see it go on. Whatever people do they do twice.
 */
export interface Story {
  readonly name: string;
  begin(scene: Scene): Promise<void>;
  /** What is done about a booking as it stands; asked again and again. */
  react(scene: Scene, booking: Booking): Promise<void>;
  /** What happens in the world after the engine's call of this name took effect, and before its answer comes. */
  meanwhile?(scene: Scene, name: string): Promise<void>;
  /** Where more than bookings has to come to its end. */
  isOver?(scene: Scene): Promise<boolean>;
  /** Its first node that `apply` has not; absent: all of its nodes are its own. */
  readonly from?: string;
  /** Retrains are booked in it. */
  readonly retrains?: boolean;
  /** Calls whose refusal leaves Finance's book and the ledger different: finance-restored.test.ts has that. */
  readonly differsAfter?: RegExp;
}

/** One telling of a story. */
export class Scene {
  readonly world: SagaWorld;
  /** Bookings by what they are in the story. */
  readonly cast = new Map<string, BookingId>();
  /** Of Finance's book, before the story began. */
  financeChanges = 0;
  readonly #did = new Set<string>();

  constructor(world: SagaWorld) {
    this.world = world;
  }

  asTenant<T>(work: (tx: Tx) => Promise<T>): Promise<T> {
    return this.world.database.db.asTenant(TENANT, work);
  }

  role(booking: Booking): string | undefined {
    for (const [role, id] of this.cast) if (id === booking.bookingId) return role;
    return undefined;
  }

  async book(role: string, over: object = {}): Promise<void> {
    this.cast.set(role, await this.world.book({ retry: { backoff: '1s' }, ...over }));
  }

  async ask(role: string, amount: string, over: Partial<JobSpec> = {}): Promise<void> {
    const bookingId = ulid(Date.now(), randomBytes(10));
    const asked = { division: 'vision', amount, currency: 'USD', purpose: 'labels', agent: 'labeller' };
    const spec = { ...moneySpec(asked), graceMs: 1_000, ...over };
    const who = { requester: 'ada', actor: 'ada', traceId: this.by().traceId, nowMs: Date.now() };
    await this.asTenant((tx) => bookMoney(tx, { bookingId, tenant: TENANT, division: 'vision', spec, ...who }));
    this.cast.set(role, bookingId);
  }

  /** Once a story. */
  async once(what: string, work: () => Promise<void>): Promise<void> {
    if (this.#did.has(what)) return;
    this.#did.add(what);
    await work();
  }

  /** The job of its attempt ends, where it runs. */
  end(booking: Booking, how: 'succeeded' | 'failed' = 'succeeded'): void {
    const key = attemptKey(booking.bookingId, booking.state.attempt);
    if (this.world.provider.live.includes(key)) this.world.provider.end(key, how);
  }

  by(actor = 'token:test') {
    return { tenant: TENANT, actor, traceId: '0af7651916cd43dd8448eb211c80319c', nowMs: Date.now() };
  }

  async sign(id: BookingId, action: Proposal['action'], key: TestKey): Promise<void> {
    const proposal = await this.asTenant((tx) => liveProposal(tx, { tenant: TENANT, bookingId: id, action }));
    if (proposal === undefined) return;
    const { statement } = proposal;
    const given = { statementHash: statementHash(statement), keyId: key.keyId, signature: key.sign(statement) };
    await this.asTenant((tx) => signProposal(tx, this.by(), proposal.id, 'approve', given));
  }
}

export const ANN = testKey();
const [ann, ben] = [ANN, testKey()];

/** Who may sign, who makes room for whom, and a model to retrain. */
export async function furnish(world: SagaWorld): Promise<void> {
  const by = { tenant: TENANT, actor: 'test', traceId: '0af7651916cd43dd8448eb211c80319c', nowMs: Date.now() };
  const large = [{ above: { amount: '10.00', currency: 'USD' }, signatures: 2 }];
  const documents = [
    { apiVersion: 'merit/v1', kind: 'Division', name: 'vision', preemption: { own: 'lower' } },
    { apiVersion: 'merit/v1', kind: 'Budget', division: 'vision', currency: 'USD', limit: '1000000.00' },
    signingPolicy({ ann, ben }, { allocations: large }),
  ];
  await world.database.db.asTenant(TENANT, async (tx) => {
    await applyDocuments(
      tx,
      by,
      documents.map((document) => ({ document: parseDocument(document) })),
    );
    await applySuite(tx, by, parseSuite(SUITE));
    await registerModel(tx, by, parseModel(MODEL));
    await addVersion(tx, by, { model: MODEL.name, version: 'ranker-v1' });
  });
}

const SUITE = {
  apiVersion: 'merit/v1',
  kind: 'Suite',
  name: 'ranking',
  metrics: { accuracy: { direction: 'higher', floor: 0, ceil: 1 } },
};

const MODEL = {
  apiVersion: 'merit/v1',
  kind: 'Model',
  name: 'ranker',
  division: 'vision',
  suite: 'ranking',
  retrain: {
    name: 'ranker',
    division: 'vision',
    resources: { cpus: 1 },
    pools: [POOL],
    run: 'true',
    retry: { backoff: '1s' },
  },
};

const isApplied = ({ state }: Booking) => state.state === 'applied';
const twice = async (work: () => Promise<unknown>) => {
  await work();
  await work();
};

const apply: Story = {
  name: 'apply',
  begin: (scene) => scene.book('job'),
  react: async (scene, booking) => {
    if (isApplied(booking)) scene.end(booking);
  },
};

const signed: Story = {
  name: 'apply, signed',
  from: 'commit.signatures_required#1',
  begin: (scene) => scene.book('job', { lease: '12h' }),
  react: async (scene, booking) => {
    if (isApplied(booking)) scene.end(booking);
    if (booking.state.state !== 'awaiting_signatures') return;
    for (const key of [ann, ben]) await twice(() => scene.sign(booking.bookingId, 'allocation.apply', key));
  },
};

const cancel: Story = {
  name: 'cancel',
  from: 'commit.apply#1',
  begin: (scene) => scene.book('job'),
  react: async (scene, { bookingId, state }) => {
    if (state.state !== 'applied') return;
    await scene.once(`cancel ${state.attempt}`, () =>
      twice(() => scene.asTenant((tx) => cancelBooking(tx, bookingId, 'ada', Date.now()))),
    );
  },
};

/** Cancelled while the engine waits for this answer: what it did is undone by its id, whatever the engine knows of it. */
const cancelAfter = (call: string): Story => ({
  name: `cancel after ${call}`,
  from: `${call}#1`,
  begin: (scene) => scene.book('job'),
  react: async () => {},
  meanwhile: async (scene, name) => {
    if (name !== call) return;
    const id = scene.cast.get('job') as BookingId;
    await twice(() => scene.asTenant((tx) => cancelBooking(tx, id, 'ada', Date.now())));
  },
});

/** What it holds runs out while its provider takes the job. */
const expired: Story = {
  name: 'apply, held too long',
  from: 'provider.submit#1',
  begin: (scene) => scene.book('job'),
  react: apply.react,
  meanwhile: async (scene, name) => {
    if (name !== 'provider.submit') return;
    await scene.once('expire', () => scene.world.current().context.desk.expire(Date.now() + DAY_MS));
  },
};

const DAY_MS = 86_400_000;

const revoke: Story = {
  name: 'revoke',
  from: 'commit.apply#1',
  begin: (scene) => scene.book('job'),
  react: async (scene, { bookingId, state }) => {
    if (state.state !== 'applied') return;
    await scene.once(`revoke ${state.attempt}`, async () => {
      const asked = { ...scene.by(), environment: 'merit-test' };
      await twice(() => scene.asTenant((tx) => proposeRevoke(tx, asked, bookingId, 'it mines coins')));
      await twice(() => scene.sign(bookingId, 'allocation.revoke', ann));
    });
  },
};

/** While it runs Finance is restored from a backup of before, and has to be told all of it anew when it ends. */
const forgotten: Story = {
  name: 'apply, forgotten by Finance',
  from: 'finance.hold#2',
  differsAfter: /^finance\.hold#/,
  begin: async (scene) => {
    scene.financeChanges = await scene.world.financeBook.changes();
    await scene.book('job');
  },
  react: async (scene, booking) => {
    if (!isApplied(booking)) return;
    await scene.once('restore', () => scene.world.financeBook.restore(scene.financeChanges));
    scene.end(booking);
  },
};

const whole = { resources: { cpus: 4 } };

const preempt: Story = {
  name: 'preempt',
  from: 'commit.drain#1',
  begin: (scene) => scene.book('low', whole),
  react: async (scene, booking) => {
    if (!isApplied(booking)) return;
    if (scene.role(booking) === 'high') return scene.end(booking);
    await scene.once('asker', () => scene.book('high', { ...whole, priority: 10 }));
    const high = await scene.world.get(scene.cast.get('high') as string);
    if (booking.state.attempt > 1 || isEnded(high.state.state)) scene.end(booking);
  },
};

const extend: Story = {
  name: 'extend',
  from: 'sentinelnet.decide#2',
  begin: (scene) => scene.book('job'),
  react: async (scene, booking) => {
    const { state, bookingId } = booking;
    if (state.state !== 'applied') return;
    await scene.once(`extend ${state.attempt}`, () =>
      twice(() => scene.asTenant((tx) => askExtension(tx, bookingId, 3_600_000, 'ada', systemClock.now()))),
    );
    const ends = new Set(['granted', 'refused']);
    if (state.extensions?.every((one) => ends.has(one.state))) scene.end(booking);
  },
};

/** Cancelled while its extension holds money. */
const extendCancelled: Story = {
  ...extend,
  name: 'extend, cancelled',
  from: 'commit.hold_extension#1',
  meanwhile: async (scene, name) => {
    if (name !== 'commit.hold_extension') return;
    const id = scene.cast.get('job') as BookingId;
    await twice(() => scene.asTenant((tx) => cancelBooking(tx, id, 'ada', Date.now())));
  },
};

const requestOf = (scene: Scene) =>
  scene.asTenant((tx) =>
    tx.query<{ state: string; booking_id: BookingId | null; attempts: number }>(
      'select state, booking_id, attempts from retrain_requests where model = $1 order by created_at desc limit 1',
      [MODEL.name],
    ),
  );

/** Its first booking's job fails for good. */
const retrain: Story = {
  name: 'retrain',
  retrains: true,
  begin: async (scene) => {
    await twice(() => scene.asTenant((tx) => requestRetrain(tx, systemClock, scene.by(), MODEL.name)));
  },
  react: async (scene, booking) => {
    if (isApplied(booking)) scene.end(booking, scene.role(booking) === 'job 1' ? 'failed' : 'succeeded');
  },
  isOver: async (scene) => {
    const [request] = await requestOf(scene);
    if (request?.booking_id != null) {
      const before = scene.cast.get(`job ${request.attempts - 1}`);
      const isFree = before === undefined || isEnded((await scene.world.get(before)).state.state);
      if (!isFree) throw new Error(`a retrain is booked again while ${before} lives`);
      scene.cast.set(`job ${request.attempts}`, request.booking_id);
    }
    return request?.state === 'done' || request?.state === 'failed';
  },
};

/** Of money alone, large enough to be signed; what was spent is said. */
const money: Story = {
  name: 'money',
  begin: (scene) => scene.ask('grant', '20.00'),
  react: async (scene, { bookingId, state }) => {
    if (state.state === 'awaiting_signatures')
      for (const key of [ann, ben]) await twice(() => scene.sign(bookingId, 'allocation.apply', key));
    if (state.state !== 'applied') return;
    await scene.once('close', () =>
      twice(() => scene.asTenant((tx) => closeMoney(tx, bookingId, '12.50', { actor: 'ada', nowMs: Date.now() }))),
    );
  },
};

const moneyRevoked: Story = {
  ...revoke,
  name: 'money, revoked',
  begin: (scene) => scene.ask('grant', '5.00'),
};

const moneyOver: Story = {
  name: 'money, over',
  from: 'commit.apply#1',
  begin: (scene) => scene.ask('grant', '5.00', { leaseMs: 10_000 }),
  react: async () => {},
};

/** Said after it was cancelled, within its grace. */
const moneyCancelled: Story = {
  name: 'money, cancelled',
  from: 'commit.apply#1',
  begin: (scene) => scene.ask('grant', '5.00', { graceMs: 3_600_000 }),
  react: async (scene, { bookingId, state }) => {
    const by = () => ({ actor: 'ada', nowMs: Date.now() });
    if (state.state === 'applied')
      await twice(() => scene.asTenant((tx) => cancelBooking(tx, bookingId, 'ada', by().nowMs)));
    if (state.state === 'draining') await twice(() => scene.asTenant((tx) => closeMoney(tx, bookingId, '2.00', by())));
  },
};

export const STORIES: readonly Story[] = [
  apply,
  signed,
  expired,
  forgotten,
  cancel,
  ...['finance.hold', 'provider.submit', 'finance.confirm'].map(cancelAfter),
  revoke,
  preempt,
  extend,
  extendCancelled,
  retrain,
  money,
  moneyRevoked,
  moneyOver,
  moneyCancelled,
];
