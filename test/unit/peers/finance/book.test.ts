import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Book, type Budgets, budgetsRefusals, type Command, UNLIMITED } from '../../../../peers/finance/book.ts';
import { type Finance, finance, type HoldAsk } from '../../../../peers/finance/client.ts';
import { type FinanceSimulator, startFinanceSimulator } from '../../../../peers/finance/simulator.ts';
import { type Hold, holdRefusals } from '../../../../peers/finance/wire.ts';
import { moneyOf } from '../../../../peers/money.ts';
import { openHttpClient } from '../../../../platform/http-client.ts';

/** As production reaches a peer. Its sockets end with the peer. */
const httpTo = (origin: string) => openHttpClient({ origin }).send;
const signal = () => new AbortController().signal;
const ask = (change: Partial<HoldAsk> = {}): HoldAsk => ({
  holdId: 'm-01jd0000000000000000000000-1',
  tenant: 'acme',
  division: 'vision',
  bookingId: '01jd0000000000000000000000',
  attempt: 1,
  amountCents: '1250',
  currency: 'EUR',
  ...change,
});
const _id = ask().holdId;
const budgets = (limit: string, otherwise: Budgets['otherwise'] = 'refuse'): Budgets => ({
  format: 'merit-budgets/1',
  otherwise,
  budgets: [{ tenant: 'acme', division: 'vision', limit: { amount: limit, currency: 'EUR' } }],
});

let folder: string;
let journalPath: string;
let simulator: FinanceSimulator;
let client: Finance;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'merit-finance-'));
  journalPath = join(folder, 'book', 'finance.ndjson');
  await start();
});
afterEach(async () => {
  await simulator.close();
  rmSync(folder, { recursive: true, force: true });
});

async function start(): Promise<void> {
  simulator = await startFinanceSimulator({ journalPath });
  client = finance({ http: httpTo(simulator.url) });
}
async function restart(): Promise<void> {
  await simulator.close();
  await start();
}

describe('the book', () => {
  it('is the same after a restart, at every status', async () => {
    simulator.setBudgets(budgets('100.00'));
    for (const holdId of ['held', 'confirmed', 'settled', 'reversed']) await client.hold(ask({ holdId }), signal());
    await client.confirm('confirmed', signal());
    await client.confirm('settled', signal());
    await client.settle('settled', { amountCents: '1', currency: 'EUR' }, signal());
    await client.reverse('reversed', 'acme', signal());
    await client.reverse('never', 'acme', signal());
    simulator.refuseNext({ code: 'no', text: 'a line separator \u2028 in the text' });
    await client.hold(ask({ holdId: 'refused' }), signal());
    const ids = ['held', 'confirmed', 'settled', 'reversed', 'never', 'refused'];
    const before = [ids.map((holdId) => simulator.get(holdId)), await client.list('acme', '0', signal())];
    await restart();
    expect([ids.map((holdId) => simulator.get(holdId)), await client.list('acme', '0', signal())]).toEqual(before);
    expect(simulator.used('acme', 'vision', 'EUR')).toBe(2501n);
  });

  it('loses nothing that was answered when its last line is torn at any byte', async () => {
    await client.hold(ask({ holdId: 'a' }), signal());
    const good = readFileSync(journalPath);
    await client.hold(ask({ holdId: 'b' }), signal());
    const all = readFileSync(journalPath);
    await simulator.close();
    for (let length = good.length; length < all.length; length += 7) {
      writeFileSync(journalPath, all.subarray(0, length));
      await start();
      expect(simulator.get('a')?.status).toBe('held');
      expect(simulator.get('b')).toBeUndefined();
      expect(await client.hold(ask({ holdId: 'b' }), signal())).toMatchObject({ kind: 'held' });
      expect(readFileSync(journalPath)).toEqual(all);
      await simulator.close();
    }
    await start();
  });

  it('that is damaged in the middle, or lacks a line, is refused with its line', async () => {
    for (const holdId of ['a', 'b', 'c']) await client.hold(ask({ holdId }), signal());
    await simulator.close();
    const lines = readFileSync(journalPath, 'utf8').split('\n');
    for (const damaged of [
      [lines[0], lines[2], ''],
      [lines[0], lines[1]!.replace('held', 'hold'), lines[2], ''],
      [lines[0], '', lines[2], ''],
      ['x'.repeat(70_000)],
    ]) {
      writeFileSync(journalPath, damaged.join('\n'));
      await expect(startFinanceSimulator({ journalPath })).rejects.toMatchObject({ code: 'storage', retry: 'never' });
    }
    writeFileSync(journalPath, lines.join('\n'));
    await start();
    expect(simulator.get('c')?.status).toBe('held');
  });

  it('conserves: what is used is the sum over holds, never negative, never over the budget, whatever is called in whatever order', () => {
    const holdIds = ['a', 'b', 'c'];
    const command: fc.Arbitrary<Command> = fc.oneof(
      fc.record({
        type: fc.constant('hold' as const),
        request: fc.tuple(fc.constantFrom(...holdIds), fc.bigInt({ min: 0n, max: 900n })).map(([holdId, cents]) => ({
          holdId,
          tenant: 'acme',
          division: 'vision',
          bookingId: 'b',
          attempt: 1,
          amount: moneyOf(cents, 'EUR'),
        })),
      }),
      fc.record({ type: fc.constant('confirm' as const), holdId: fc.constantFrom(...holdIds) }),
      fc.record({
        type: fc.constant('settle' as const),
        holdId: fc.constantFrom(...holdIds),
        amount: fc.bigInt({ min: 0n, max: 900n }).map((cents) => moneyOf(cents, 'EUR')),
      }),
      fc.record({
        type: fc.constant('reverse' as const),
        holdId: fc.constantFrom(...holdIds),
        tenant: fc.constantFrom('acme', 'other'),
      }),
    );
    const cents = (hold: Hold) => {
      const money =
        hold.status === 'settled'
          ? hold.settled
          : hold.status === 'held' || hold.status === 'confirmed'
            ? hold.request!.amount
            : null;
      return money === null ? 0n : BigInt(money.amount.replace('.', ''));
    };
    fc.assert(
      fc.property(fc.array(command, { maxLength: 40 }), (commands) => {
        const book = new Book();
        book.setBudgets(budgets('10.00'));
        const ended = new Map<string, string>();
        for (const one of commands) {
          const plan = book.plan(one);
          if (plan.kind === 'change') {
            expect(holdRefusals(plan.hold)).toEqual([]);
            expect(ended.has(plan.hold.holdId)).toBe(false);
            book.commit(plan.hold);
            if (['settled', 'reversed', 'refused'].includes(plan.hold.status))
              ended.set(plan.hold.holdId, plan.hold.status);
          }
          if (plan.kind !== 'problem') expect(book.plan(one)).toEqual({ kind: 'as-before', hold: plan.hold });
          const sum = holdIds.reduce(
            (total, holdId) => total + (book.get(holdId) === undefined ? 0n : cents(book.get(holdId)!)),
            0n,
          );
          expect(book.used('acme', 'vision', 'EUR')).toBe(sum);
          expect(sum).toBeLessThanOrEqual(1000n);
        }
      }),
      { numRuns: 300 },
    );
  });

  it('has budgets that refuse what they do not know', () => {
    expect(budgetsRefusals(UNLIMITED)).toEqual([]);
    expect(budgetsRefusals(budgets('5'))).toMatchObject([{ code: 'scale' }]);
    expect(budgetsRefusals(budgets('-5.00'))).not.toEqual([]);
    expect(budgetsRefusals({ ...UNLIMITED, otherwise: 'maybe' })).not.toEqual([]);
  });
});
