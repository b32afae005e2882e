import { describe, expect, test } from 'vitest';
import { BacklogMeter } from '../../../../scoring/ingest/backlog-meter.ts';

const LIMITS = { messages: 1_000, bytes: 1e12, ageMs: 600_000 };
const at = (nextOffset: number, readTo: number, partition = 0) => ({
  partition,
  nextOffset: BigInt(nextOffset),
  readTo: BigInt(readTo),
});

describe('the backlog of reports', () => {
  test('is what was appended and not read over all partitions, with what this door appended since the last look', () => {
    const meter = new BacklogMeter(LIMITS);
    meter.look([at(50, 10), at(7, 7, 1)], 0);
    meter.appended(200);
    meter.appended(200);
    expect(meter.state(0)).toMatchObject({ messages: 42, bytes: 42 * 200 });
    meter.look([at(52, 52), at(7, 7, 1)], 1_000);
    expect(meter.state(1_000).messages).toBe(0);
  });

  test('is as old as its oldest message, however long the log was idle before it', () => {
    const meter = new BacklogMeter(LIMITS);
    meter.look([at(10, 10)], 0);
    meter.look([at(20, 10)], 3_600_000);
    expect(meter.state(3_600_000).ageMs).toBe(0);
    meter.look([at(30, 10)], 3_605_000);
    expect(meter.state(3_606_000).ageMs).toBe(6_000);
    // The first ten were read: what is left came with the second look.
    meter.look([at(30, 20)], 3_607_000);
    expect(meter.state(3_607_000).ageMs).toBe(2_000);
    meter.look([at(30, 30)], 3_608_000);
    expect(meter.state(3_608_000).ageMs).toBe(0);
  });

  test('of a topic that was made anew begins again', () => {
    const meter = new BacklogMeter(LIMITS);
    meter.look([at(900, 100)], 0);
    meter.look([at(5, 0)], 60_000);
    expect(meter.state(60_000)).toMatchObject({ messages: 5, ageMs: 0 });
  });

  test('tells what is read before a message', () => {
    const meter = new BacklogMeter(LIMITS);
    meter.look([at(50, 10)], 0);
    expect([meter.before(0, 60n), meter.before(0, 10n), meter.before(0, 3n), meter.before(9, 5n)]).toEqual([
      50, 0, 0, 0,
    ]);
  });
});

describe('no more is taken', () => {
  test('at a limit, for as long as what is too much takes to be read at the measured rate', () => {
    const meter = new BacklogMeter(LIMITS);
    meter.look([at(4_000, 1_000)], 0);
    meter.look([at(4_100, 1_100)], 10_000);
    // 10 messages a second; 3,000 wait, and 900 may when it opens again.
    const refusal = meter.refusal(10_000);
    expect(refusal).toMatchObject({ reason: 'messages', state: { messages: 3_000, drainedPerSecond: 10 } });
    expect(refusal?.retryAfterSeconds).toBe(60);
    meter.look([at(4_100, 3_000)], 20_000);
    expect(meter.refusal(20_000)).toMatchObject({ retryAfterSeconds: 2, state: { drainedPerSecond: 100 } });
  });

  test('until it is somewhat below the limit again', () => {
    const meter = new BacklogMeter(LIMITS);
    meter.look([at(999, 0)], 0);
    expect(meter.refusal(0)).toBeUndefined();
    meter.look([at(1_000, 0)], 1_000);
    expect(meter.refusal(1_000)).toMatchObject({ reason: 'messages', retryAfterSeconds: 30 });
    meter.look([at(1_000, 50)], 2_000);
    expect(meter.refusal(2_000)).toMatchObject({ reason: 'messages' });
    meter.look([at(1_000, 101)], 3_000);
    expect(meter.refusal(3_000)).toBeUndefined();
    meter.look([at(1_050, 101)], 4_000);
    expect(meter.refusal(4_000)).toBeUndefined();
  });

  test('for their size, and for the age of the oldest', () => {
    const bySize = new BacklogMeter({ ...LIMITS, bytes: 10_000 });
    bySize.look([at(90, 0)], 0);
    expect(bySize.refusal(0)).toBeUndefined();
    bySize.appended(200);
    expect(bySize.refusal(0)?.reason).toBe('bytes');
    const byAge = new BacklogMeter(LIMITS);
    byAge.look([at(10, 0)], 0);
    expect(byAge.refusal(599_999)).toBeUndefined();
    expect(byAge.refusal(600_000)?.reason).toBe('age');
  });
});
