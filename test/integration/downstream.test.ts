import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { downstreamSweeps } from '../../api/roles/downstream.ts';
import { appendAudit } from '../../ledger/audit/append.ts';
import { sequenceOnce } from '../../ledger/audit/sequencer.ts';
import { ALLOCATIONS_TOPIC, AUDIT_TOPIC } from '../../ledger/outbox/cloud-event.ts';
import { enqueue } from '../../ledger/outbox/outbox.ts';
import { runPublisher } from '../../ledger/outbox/publisher.ts';
import { type Clock, systemClock } from '../../platform/clock.ts';
import type { EventLog, NewMessage } from '../../platform/event-log.ts';
import { createTopic, openPostgresEventLog } from '../../platform/event-log-postgres.ts';
import { StaleLeader } from '../../platform/postgres.ts';
import { PROMOTIONS_TOPIC } from '../../scoring/promotion/commit-decision.ts';
import { asAdmin, type TestDatabase, testDatabase } from '../support/db.ts';
import { random, TRACE, testSigner } from './scoring-online-support.ts';

const TOPICS = [PROMOTIONS_TOPIC, ALLOCATIONS_TOPIC, AUDIT_TOPIC];

let own: TestDatabase;
let log: EventLog;
const signer = testSigner();

beforeAll(async () => {
  own = await testDatabase();
  await own.db.asEngine(async (tx) => {
    await tx.execute("insert into tenants (tenant) values ('acme'), ('rival')");
    for (const topic of TOPICS) await createTopic(tx, topic, 1);
  });
  log = openPostgresEventLog({ db: own.db, appendAs: 'engine' });
});

afterAll(async () => {
  await log?.close();
  await own?.close();
});

/** An audit event of a subject, in a transaction of its own. */
async function happened(subject: string, type: string, tenant = 'acme'): Promise<void> {
  await own.db.asTenant(tenant, (tx) =>
    appendAudit(tx, {
      tenant,
      subject,
      type,
      at: '2026-01-05T09:00:00.000Z',
      actor: 'tester',
      trace: TRACE,
      data: { attempt: 1 },
    }),
  );
}

const seal = async () => {
  while ((await sequenceOnce(own.db, 0n, signer, systemClock)).more);
};

/** Runs the publisher until all that waits is published, however often `append` fails. */
async function publish(append: EventLog['append'], tenant?: string): Promise<{ readonly failures: number }> {
  const stop = new AbortController();
  let failures = 0;
  const clock: Clock = {
    now: () => systemClock.now(),
    sleep: async (ms, signal) => {
      // Nothing to do: is all published?
      if (ms >= 500 && (await waiting(tenant)) === 0) stop.abort();
      await systemClock.sleep(1, signal);
    },
  };
  const watch = { published: () => {}, waiting: () => {}, failed: () => void failures++ };
  const tenants = tenant === undefined ? undefined : [tenant];
  const deps = { db: own.db, epoch: 0n, clock, eventLog: { append }, installation: 'here', tenants, watch };
  await runPublisher(deps, stop.signal);
  return { failures };
}

async function waiting(tenant?: string): Promise<number> {
  const [row] = await own.db.asEngine((tx) =>
    tx.query<{ n: bigint }>(
      `select (select count(*) from outbox where published_at is null and ($1::text is null or tenant = $1))
            + (select count(*) from audit_events where seq >= coalesce((select next_seq from publications), 0)) as n`,
      [tenant ?? null],
    ),
  );
  return Number(row!.n);
}

interface CloudEvent {
  readonly id: string;
  readonly source: string;
  readonly type: string;
  readonly subject: string;
  readonly sequence: string;
  readonly data: Record<string, unknown>;
}

const eventOf = (message: Pick<NewMessage, 'value'>) =>
  JSON.parse(Buffer.from(message.value!).toString()) as CloudEvent;

let readTo: Record<string, bigint> = {};

/** What came to a topic since the last time. */
async function arrived(topic: string): Promise<readonly CloudEvent[]> {
  const messages = await log.read(topic, 0, readTo[topic] ?? 0n, 10_000, 1e9);
  const last = messages.at(-1);
  if (last !== undefined) readTo = { ...readTo, [topic]: last.offset + 1n };
  return messages.map(eventOf);
}

describe('downstream', () => {
  test('decisions, allocations and audit events come as CloudEvents, each where it belongs', async () => {
    await happened('booking/01k00000000000000000000000', 'booking.created');
    await happened('booking/01k00000000000000000000000', 'booking.extension_held');
    await happened('suite/search', 'decision.promote');
    await seal();
    await own.db.asTenant('acme', (tx) =>
      enqueue(tx, {
        tenant: 'acme',
        topic: PROMOTIONS_TOPIC,
        key: 'search',
        body: { type: 'decision.promote', decision: 'h', record: { model: 'm' }, trace: TRACE },
      }),
    );
    await publish((message) => log.append(message));
    const [promotion] = await arrived(PROMOTIONS_TOPIC);
    expect(promotion).toMatchObject({
      specversion: '1.0',
      type: 'merit.decision.promote',
      source: '/merit/here/acme/promotions',
      subject: 'suite/search',
      datacontenttype: 'application/json',
      traceparent: expect.stringMatching(new RegExp(`^00-${TRACE}-[0-9a-f]{16}-01$`)),
      data: { decision: 'h', record: { model: 'm' } },
    });
    const allocations = await arrived(ALLOCATIONS_TOPIC);
    expect(allocations.map(({ type, data }) => [type, data.allocation, data.n, data.state])).toEqual([
      ['merit.booking.created', '01k00000000000000000000000', 1, 'waiting'],
      ['merit.booking.extension_held', '01k00000000000000000000000', 2, null],
    ]);
    const audit = await arrived(AUDIT_TOPIC);
    const inChain = [...audit].sort((a, b) => Number(a.data.seq) - Number(b.data.seq));
    expect(inChain.map(({ type, data }) => [type, data.subject, data.seq])).toEqual([
      ['merit.booking.created', 'booking/01k00000000000000000000000', 0],
      ['merit.booking.extension_held', 'booking/01k00000000000000000000000', 1],
      ['merit.decision.promote', 'suite/search', 2],
    ]);
    expect(inChain.map((event) => event.sequence)).toEqual(audit.map((event) => event.sequence).sort());
    // Of one occurrence on two topics each has a source of its own.
    expect(inChain[0]!.id).toBe(allocations[0]!.id);
    expect(inChain[0]!.source).not.toBe(allocations[0]!.source);
  });

  test('however often publishing fails and begins again, all of it comes, and of each key nothing overtakes', async () => {
    const chance = random(7);
    const expected = new Map<string, string[]>();
    for (let i = 0; i < 60; i++) {
      const key = `k${Math.floor(chance() * 6)}`;
      await happened(`booking/${key}`, 'booking.waiting');
      await own.db.asTenant('acme', (tx) =>
        enqueue(tx, { tenant: 'acme', topic: PROMOTIONS_TOPIC, key, body: { type: 'decision.review', i } }),
      );
      expected.set(key, [...(expected.get(key) ?? []), String(i)]);
    }
    await seal();
    const { failures } = await publish(async (message) => {
      const luck = chance();
      if (luck < 0.1) throw new Error('the broker is away');
      const at = await log.append(message);
      // It came, and nobody heard of it.
      if (luck > 0.95) throw new Error('the connection broke');
      return at;
    });
    expect(failures).toBeGreaterThan(3);
    const facts = await arrived(PROMOTIONS_TOPIC);
    for (const [key, order] of expected) {
      const came = facts.filter((event) => event.subject === `suite/${key}`);
      expect(firsts(came).map((event) => String(event.data.i))).toEqual(order);
    }
    for (const topic of [ALLOCATIONS_TOPIC, AUDIT_TOPIC]) {
      const events = await arrived(topic);
      for (const [key, order] of expected) {
        const came = firsts(events.filter((event) => event.subject === `booking/${key}`));
        expect(came.map((event) => event.data.n)).toEqual(order.map((_one, i) => i + 1));
      }
    }
  });

  test('an event that is sent again is the same to its last byte', async () => {
    await happened('pool/east', 'pool.applied');
    await seal();
    const bytes: string[] = [];
    await publish(async (message) => {
      bytes.push(Buffer.from(message.value!).toString());
      if (bytes.length < 3) throw new Error('away');
      return log.append(message);
    });
    expect(bytes).toHaveLength(3);
    expect(new Set(bytes).size).toBe(1);
    await arrived(AUDIT_TOPIC);
  });

  test('a log of one tenant gets what is that tenant’s, and what is another’s holds nothing up', async () => {
    await happened('pool/theirs', 'pool.applied', 'rival');
    await happened('pool/ours', 'pool.applied');
    await seal();
    await publish((message) => log.append(message), 'acme');
    expect((await arrived(AUDIT_TOPIC)).map((event) => event.subject)).toEqual(['pool/ours']);
  });

  test('a former leader moves nothing on, and ends', async () => {
    await happened('pool/late', 'pool.applied');
    await seal();
    const deps = {
      db: own.db,
      epoch: 99n,
      clock: systemClock,
      eventLog: log,
      installation: 'here',
      tenants: undefined,
      watch: { published: () => {}, failed: () => {}, waiting: () => {} },
    };
    const stop = new AbortController();
    await expect(runPublisher(deps, stop.signal)).rejects.toBeInstanceOf(StaleLeader);
    stop.abort();
    expect(await waiting()).toBe(1);
  });
});

test('what was published goes after its retention, from the outbox and from the topics of the embedded log, which go on where they were', async () => {
  await asAdmin(
    own.urls.admin,
    `update outbox set published_at = published_at - interval '8 days';
     update log_messages set appended_at = appended_at - interval '8 days'`,
  );
  const before = await log.end(AUDIT_TOPIC, 0);
  expect(before.firstOffset).toBe(0n);
  const sweeps = downstreamSweeps(own.db, 7 * 86_400_000);
  expect(Object.keys(sweeps).sort()).toEqual(['outbox', ...TOPICS].sort());
  for (const sweep of Object.values(sweeps)) while ((await sweep(0n, Date.now())) > 0);
  expect(await asAdmin(own.urls.admin, 'select count(*)::int as n from outbox')).toEqual([{ n: 0 }]);
  // The last message stays: it tells when the log was last written.
  expect(await log.end(AUDIT_TOPIC, 0)).toMatchObject({
    firstOffset: before.nextOffset - 1n,
    nextOffset: before.nextOffset,
  });
});

/** Each event once, where it first came. */
function firsts(events: readonly CloudEvent[]): readonly CloudEvent[] {
  const seen = new Set<string>();
  return events.filter(({ id }) => !seen.has(id) && seen.add(id));
}
