import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { retryBooking } from '../../scheduler/apply/retry.ts';
import { type HttpWorld, httpWorld } from '../support/http-world.ts';

let world: HttpWorld;
const call: HttpWorld['call'] = (...args) => world.call(...args);

beforeAll(async () => {
  world = await httpWorld();
  expect((await call('PUT', '/v1/pools/cpus', pool)).statusCode).toBe(201);
});
afterAll(() => world?.close());

const pool = {
  apiVersion: 'merit/v1',
  kind: 'Pool',
  name: 'cpus',
  provider: { kind: 'local' },
  flavours: [{ name: 'small', resource: 'cpu', capacity: 4, price: { currency: 'USD', perUnitHour: '0.50' } }],
  quotas: { vision: { small: 4 } },
};
const job = { name: 'train', division: 'vision', resources: { cpus: 2 }, pools: ['cpus'], run: 'python train.py' };

async function cancelled(over: object = {}): Promise<string> {
  const { id } = (await call('POST', '/v1/jobs', { ...job, ...over })).json();
  await call('POST', `/v1/jobs/${id}:cancel`);
  return id;
}

/** As if it had ended so: how it came there is other tests' matter. */
const setState = (id: string, state: string) =>
  world.database.db.asEngine((tx) =>
    tx.execute(
      "update bookings set state = $2, data = jsonb_set(data, '{state}', to_jsonb($2::text)) where booking_id = $1",
      [id, state],
    ),
  );
const refusal = async (id: string, query = '') => {
  const reply = await call('POST', `/v1/jobs/${id}:retry${query}`);
  return [reply.statusCode, reply.json().code];
};

describe('a job that has ended', () => {
  test('goes again as a booking of its own with the same spec, linked both ways, and its own history stays', async () => {
    const id = await cancelled({ priority: 3, max_restarts: 2 });
    const reply = await call('POST', `/v1/jobs/${id}:retry`);
    expect(reply.statusCode).toBe(202);
    const again = reply.json();
    expect(reply.headers.location).toBe(`/v1/jobs/${again.id}`);
    expect(again).toMatchObject({ state: 'waiting', attempt: 1, retryOf: id, retriedAs: null });
    const old = (await call('GET', `/v1/jobs/${id}`)).json();
    expect(old).toMatchObject({ state: 'cancelled', retryOf: null, retriedAs: again.id });
    expect([again.spec, again.specHash]).toEqual([old.spec, old.specHash]);
    const events = async (of: string) => (await call('GET', `/v1/jobs/${of}/events`)).json().items;
    expect((await events(again.id))[0]).toMatchObject({ type: 'booking.created', data: { retryOf: id } });
    expect((await events(id)).map((one: { type: string }) => one.type)).toEqual([
      'booking.created',
      'booking.cancelled',
    ]);
  });

  test('goes again once: a repeated request gets the same answer, another is told of the go that there is', async () => {
    const id = await cancelled();
    const key = { 'idempotency-key': 'retry-once' };
    const [first, repeated] = [
      await call('POST', `/v1/jobs/${id}:retry`, undefined, key),
      await call('POST', `/v1/jobs/${id}:retry`, undefined, key),
    ];
    expect(repeated.body).toBe(first.body);
    const other = await call('POST', `/v1/jobs/${id}:retry`);
    expect(other.json()).toMatchObject({ code: 'already_retried', detail: expect.stringContaining(first.json().id) });
    await call('POST', `/v1/jobs/${first.json().id}:cancel`);
    const third = await call('POST', `/v1/jobs/${first.json().id}:retry`);
    expect(third.json()).toMatchObject({ retryOf: first.json().id });
  });

  test('that two ask for at once goes again once', async () => {
    const id = await cancelled();
    const replies = await Promise.all([1, 2, 3].map(() => call('POST', `/v1/jobs/${id}:retry`)));
    expect(replies.map((reply) => reply.statusCode).sort()).toEqual([202, 409, 409]);
  });

  test.each(['failed', 'expired', 'rejected', 'infeasible', 'revoked'])('%s may go again', async (state) => {
    const id = await cancelled();
    await setState(id, state);
    expect((await call('POST', `/v1/jobs/${id}:retry`)).statusCode).toBe(202);
  });

  test('well goes again only by force', async () => {
    const id = await cancelled();
    await setState(id, 'released');
    expect(await refusal(id)).toEqual([409, 'succeeded']);
    expect(await refusal(id, '?force=false')).toEqual([409, 'succeeded']);
    expect((await call('POST', `/v1/jobs/${id}:retry?force=true`)).statusCode).toBe(202);
  });

  test('past its deadline, or as a retrain, or not at all, is refused with the reason, and nothing is booked', async () => {
    const live = (await call('POST', '/v1/jobs', job)).json().id;
    const late = await cancelled({ schedule: { deadline: '2020-01-01T00:00:00Z' } });
    const retrain = await cancelled();
    await world.database.db.asEngine((tx) =>
      tx.execute(
        "update bookings set spec = jsonb_set(spec, '{parameters}', jsonb_build_object('producer', 'job-' || booking_id)) where booking_id = $1",
        [retrain],
      ),
    );
    const before = await world.count('bookings');
    expect(await refusal(live)).toEqual([409, 'not_ended']);
    expect(await refusal(live, '?force=true')).toEqual([409, 'not_ended']);
    expect(await refusal(late)).toEqual([409, 'deadline_passed']);
    expect(await refusal(retrain)).toEqual([409, 'retrain']);
    expect(await refusal('01k00000000000000000000000')).toEqual([404, 'not_found']);
    expect(await refusal(live, '?force=perhaps')).toEqual([422, expect.any(String)]);
    expect(await world.count('bookings')).toBe(before);
  });

  test('of another tenant is none', async () => {
    const id = await cancelled();
    expect((await call('POST', `/v1/jobs/${id}:retry`, undefined, {}, 'rival')).statusCode).toBe(404);
  });

  test('is waited for in its newest go by those that depend on it, also where they go again themselves', async () => {
    const first = await cancelled({ name: 'first' });
    const second = await cancelled({ name: 'second', depends_on: [first] });
    const newFirst = (await call('POST', `/v1/jobs/${first}:retry`)).json().id;
    const newSecond = (await call('POST', `/v1/jobs/${second}:retry`)).json().id;
    const needs = await world.database.db.asEngine((tx) =>
      tx.query<{ needs: string }>('select needs from booking_dependencies where booking_id = $1', [newSecond]),
    );
    expect(needs).toEqual([{ needs: newFirst }]);
  });

  test('whose division was removed is refused like a new one', async () => {
    const id = await cancelled();
    await world.database.db.asEngine(async (tx) => {
      await tx.execute("insert into divisions (tenant, division, removed) values ('acme', 'gone', true)");
      await tx.execute("update bookings set division = 'gone' where booking_id = $1", [id]);
    });
    expect(await refusal(id)).toEqual([422, 'unknown_division']);
  });
});

test('a booking of no tenant that one sees is undefined, not refused', async () => {
  const ask = { requester: 'ada', traceId: '0'.repeat(32), nowMs: 0, force: false };
  const id = '01k00000000000000000000000' as never;
  const retried = await world.database.db.asTenant('acme', (tx) =>
    retryBooking(tx, { ...ask, jobId: id, bookingId: id }),
  );
  expect(retried).toBeUndefined();
});
