import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Budgets } from '../../../../peers/finance/book.ts';
import { type Finance, finance, type HoldAsk } from '../../../../peers/finance/client.ts';
import { type FinanceSimulator, startFinanceSimulator } from '../../../../peers/finance/simulator.ts';
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
const id = ask().holdId;
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
async function _restart(): Promise<void> {
  await simulator.close();
  await start();
}

describe('a hold', () => {
  it('is held, confirmed, then settled for less, and the rest is free', async () => {
    simulator.setBudgets(budgets('20.00'));
    expect(await client.hold(ask(), signal())).toMatchObject({ kind: 'held', hold: { status: 'held', ask: ask() } });
    expect(simulator.used('acme', 'vision', 'EUR')).toBe(1250n);
    expect(await client.confirm(id, signal())).toMatchObject({ kind: 'done', hold: { status: 'confirmed' } });
    expect(await client.settle(id, { amountCents: '301', currency: 'EUR' }, signal())).toMatchObject({
      kind: 'done',
      hold: { status: 'settled', settledCents: '301' },
    });
    expect(simulator.used('acme', 'vision', 'EUR')).toBe(301n);
    expect(await client.get(id, signal())).toMatchObject({ status: 'settled', settledCents: '301', ask: ask() });
  });

  it('is reversed whole, held or confirmed', async () => {
    for (const holdId of ['a', 'b']) {
      await client.hold(ask({ holdId }), signal());
      if (holdId === 'b') await client.confirm(holdId, signal());
      expect(await client.reverse(holdId, 'acme', signal())).toMatchObject({
        kind: 'done',
        hold: { status: 'reversed' },
      });
    }
    expect(simulator.used('acme', 'vision', 'EUR')).toBe(0n);
  });

  it('past the budget is refused with what is free, for ever under this id', async () => {
    simulator.setBudgets(budgets('20.00'));
    await client.hold(ask(), signal());
    const second = ask({ holdId: 'second' });
    const refused = await client.hold(second, signal());
    expect(refused).toMatchObject({
      kind: 'refused',
      reason: { code: 'insufficient_funds', text: expect.stringContaining('7.50 EUR of 20.00 EUR') },
    });
    simulator.setBudgets(budgets('100.00'));
    expect(await client.hold(second, signal())).toMatchObject({ kind: 'refused' });
    expect(await client.hold(ask({ holdId: 'third' }), signal())).toMatchObject({ kind: 'held' });
  });

  it('of exactly what is free is held; a budget cut below use frees nothing and refuses the next', async () => {
    simulator.setBudgets(budgets('12.50'));
    expect(await client.hold(ask(), signal())).toMatchObject({ kind: 'held' });
    simulator.setBudgets(budgets('1.00'));
    expect(await client.hold(ask({ holdId: 'x', amountCents: '1' }), signal())).toMatchObject({ kind: 'refused' });
    expect(await client.hold(ask({ holdId: 'y', amountCents: '0' }), signal())).toMatchObject({ kind: 'held' });
    expect(await client.get(id, signal())).toMatchObject({ status: 'held' });
  });

  it('of a division without a budget, or in another currency, is refused where budgets are needed', async () => {
    simulator.setBudgets(budgets('20.00'));
    expect(await client.hold(ask({ holdId: 'x', division: 'speech' }), signal())).toMatchObject({
      kind: 'refused',
      reason: { code: 'no_budget' },
    });
    expect(await client.hold(ask({ holdId: 'y', currency: 'USD' }), signal())).toMatchObject({
      kind: 'refused',
      reason: { code: 'no_budget' },
    });
    simulator.setBudgets(budgets('20.00', 'unlimited'));
    expect(await client.hold(ask({ holdId: 'z', division: 'speech' }), signal())).toMatchObject({ kind: 'held' });
  });

  it('of two at once takes the last of the budget once', async () => {
    simulator.setBudgets(budgets('20.00'));
    const outcomes = await Promise.all(
      Array.from({ length: 20 }, (_, i) => client.hold(ask({ holdId: `h${i}` }), signal())),
    );
    expect(outcomes.filter((outcome) => outcome.kind === 'held').length).toBe(1);
    expect(simulator.used('acme', 'vision', 'EUR')).toBe(1250n);
  });

  it('can be refused to order', async () => {
    simulator.refuseNext({ code: 'frozen', text: 'the account is frozen' });
    expect(await client.hold(ask(), signal())).toMatchObject({ kind: 'refused', reason: { code: 'frozen' } });
    expect(await client.hold(ask({ holdId: 'next' }), signal())).toMatchObject({ kind: 'held' });
  });
});

describe('every call again', () => {
  it('has the same effect once and the same answer', async () => {
    const first = await client.hold(ask(), signal());
    expect(await client.hold(ask(), signal())).toEqual(first);
    const confirmed = await client.confirm(id, signal());
    expect(await client.confirm(id, signal())).toEqual(confirmed);
    const settled = await client.settle(id, { amountCents: '5', currency: 'EUR' }, signal());
    expect(await client.settle(id, { amountCents: '5', currency: 'EUR' }, signal())).toEqual(settled);
    expect(await client.confirm(id, signal())).toMatchObject({ kind: 'done', hold: { status: 'settled' } });
    expect(await client.hold(ask(), signal())).toMatchObject({ kind: 'held', hold: { status: 'settled' } });
    expect(simulator.used('acme', 'vision', 'EUR')).toBe(5n);
  });

  it('with other content is a conflict and changes nothing', async () => {
    await client.hold(ask(), signal());
    for (const other of [
      { amountCents: '1251' },
      { currency: 'USD' },
      { division: 'speech' },
      { attempt: 2 },
      { tenant: 'other' },
    ]) {
      expect(await client.hold(ask(other), signal())).toMatchObject({ kind: 'conflict', code: 'hold_differs' });
    }
    await client.confirm(id, signal());
    await client.settle(id, { amountCents: '5', currency: 'EUR' }, signal());
    expect(await client.settle(id, { amountCents: '6', currency: 'EUR' }, signal())).toMatchObject({
      kind: 'conflict',
      code: 'already_settled',
    });
    expect(await client.reverse(id, 'acme', signal())).toMatchObject({ kind: 'conflict', code: 'already_settled' });
    expect(simulator.used('acme', 'vision', 'EUR')).toBe(5n);
  });

  it('in a status that forbids it is a conflict', async () => {
    await client.hold(ask(), signal());
    expect(await client.settle(id, { amountCents: '1', currency: 'EUR' }, signal())).toMatchObject({
      kind: 'conflict',
      code: 'not_confirmed',
    });
    await client.confirm(id, signal());
    expect(await client.settle(id, { amountCents: '1251', currency: 'EUR' }, signal())).toMatchObject({
      kind: 'conflict',
      code: 'exceeds_hold',
    });
    expect(await client.settle(id, { amountCents: '1', currency: 'USD' }, signal())).toMatchObject({
      kind: 'conflict',
      code: 'other_currency',
    });
    expect(await client.reverse(id, 'other', signal())).toMatchObject({ kind: 'conflict', code: 'other_tenant' });
    await client.reverse(id, 'acme', signal());
    expect(await client.confirm(id, signal())).toMatchObject({ kind: 'conflict', code: 'already_reversed' });
    expect(await client.hold(ask(), signal())).toMatchObject({ kind: 'reversed' });
  });

  it('of an id that Finance never saw: confirm and settle find nothing, reverse closes it for a late request', async () => {
    expect(await client.get(id, signal())).toBeUndefined();
    expect(await client.confirm(id, signal())).toMatchObject({ kind: 'absent' });
    expect(await client.settle(id, { amountCents: '1', currency: 'EUR' }, signal())).toMatchObject({ kind: 'absent' });
    expect(await client.reverse(id, 'acme', signal())).toMatchObject({
      kind: 'done',
      hold: { status: 'reversed', ask: undefined },
    });
    expect(await client.hold(ask(), signal())).toMatchObject({ kind: 'reversed' });
    expect(simulator.used('acme', 'vision', 'EUR')).toBe(0n);
    expect(await client.settle(id, { amountCents: '1', currency: 'EUR' }, signal())).toMatchObject({ kind: 'absent' });
  });
});

describe('a lost reply', () => {
  it.each(['hold', 'confirm', 'settle', 'reverse'] as const)(
    'of %s is unknown; a look tells, and the repetition answers',
    async (route) => {
      const calls = {
        hold: () => client.hold(ask(), signal()),
        confirm: () => client.confirm(id, signal()),
        settle: () => client.settle(id, { amountCents: '7', currency: 'EUR' }, signal()),
        reverse: () => client.reverse(id, 'acme', signal()),
      };
      if (route !== 'hold') await calls.hold();
      if (route === 'settle') await calls.confirm();
      simulator.control.dropReply(route);
      expect(await calls[route]()).toMatchObject({
        kind: 'unknown',
        cause: { name: 'OperatingError', retry: 'look-first' },
      });
      const status = { hold: 'held', confirm: 'confirmed', settle: 'settled', reverse: 'reversed' }[route];
      expect(await client.get(id, signal())).toMatchObject({ status });
      expect(await calls[route]()).toMatchObject({ kind: route === 'hold' ? 'held' : 'done', hold: { status } });
    },
  );

  it.each(['before-effect', 'before-answer'] as const)('by a time-out is unknown: %s', async (when) => {
    const gate = simulator.control.hold('hold', when);
    // Its time is up when the call stands at the gate: by a clock, on a busy machine, that could be before it was sent.
    const timeUp = new AbortController();
    const limit = vi.spyOn(AbortSignal, 'timeout').mockReturnValue(timeUp.signal);
    const answer = client.hold(ask(), signal()).finally(() => limit.mockRestore());
    await gate.reached;
    timeUp.abort();
    expect(await answer).toMatchObject({ kind: 'unknown', cause: { code: 'timeout' } });
    expect(simulator.get(id)?.status).toBe(when === 'before-answer' ? 'held' : undefined);
    gate.open();
  });

  it('never comes of a Finance that is away: nothing was sent, so it throws', async () => {
    const { url } = simulator;
    await simulator.close();
    await expect(finance({ http: httpTo(url) }).hold(ask(), signal())).rejects.toMatchObject({
      code: 'unreachable',
      retry: 'safe',
    });
    await start();
  });

  it('503 may have taken effect, 429 cannot, 401 and 403 are final', async () => {
    simulator.control.answerWith('hold', { status: 503, body: '' });
    expect(await client.hold(ask(), signal())).toMatchObject({ kind: 'unknown' });
    simulator.control.answerWith('hold', { status: 429, headers: { 'retry-after': '2' }, body: '' });
    await expect(client.hold(ask(), signal())).rejects.toMatchObject({ retry: 'safe', retryAfterMs: 2000 });
    for (const status of [401, 403]) {
      simulator.control.answerWith('hold', { status, body: '' });
      await expect(client.hold(ask(), signal())).rejects.toMatchObject({ code: 'auth', retry: 'never' });
    }
  });
});

describe('an answer that is not one to the call', () => {
  const request = {
    holdId: id,
    tenant: 'acme',
    division: 'vision',
    bookingId: ask().bookingId,
    attempt: 1,
    amount: { amount: '12.50', currency: 'EUR' },
  };
  const good = { holdId: id, tenant: 'acme', status: 'held', request, settled: null, reason: null };
  const amount = (value: unknown, currency: unknown = 'EUR') => ({
    ...good,
    request: { ...request, amount: { amount: value, currency } },
  });

  it.each<[string, unknown]>([
    ['{}', {}],
    ['null', null],
    ['a price NaN', amount('NaN')],
    ['a price as a number', amount(12.5)],
    ['a negative price', amount('-12.50')],
    ['another price', amount('12.51')],
    ['a price of another scale', amount('12.5')],
    ['another currency', amount('12.50', 'USD')],
    ['another hold', { ...good, holdId: 'other' }],
    ['another hold inside', { ...good, request: { ...request, holdId: 'other' } }],
    ['another booking', { ...good, request: { ...request, bookingId: 'other' } }],
    ['another attempt', { ...good, request: { ...request, attempt: 2 } }],
    ['another tenant', { ...good, tenant: 'other', request: { ...request, tenant: 'other' } }],
    ['an unknown status', { ...good, status: 'OK' }],
    ['held without the request', { ...good, request: null }],
    ['refused without a reason', { ...good, status: 'refused' }],
    ['settled without an amount', { ...good, status: 'settled' }],
    ['held with a settled amount', { ...good, settled: { amount: '1.00', currency: 'EUR' } }],
    ['settled for more than was held', { ...good, status: 'settled', settled: { amount: '12.51', currency: 'EUR' } }],
    ['settled in another currency', { ...good, status: 'settled', settled: { amount: '1.00', currency: 'USD' } }],
  ])('%s is invalid, with the answer as evidence, and nothing may be applied on it', async (_name, body) => {
    simulator.control.answerWith('hold', { body: JSON.stringify(body) });
    const outcome = await client.hold(ask(), signal());
    expect(outcome).toMatchObject({ kind: 'invalid', reason: { code: 'finance_answer_invalid' } });
    if (outcome.kind === 'invalid') expect(JSON.parse(outcome.evidence.bytes.toString()).answer).toEqual(body);
  });

  it.each([
    ['torn', '{"holdId":'],
    ['empty', ''],
    ['a doubled key', '{"status":"refused","status":"held"}'],
    ['__proto__', '{"__proto__":{}}'],
    ['HTML', '<p>OK</p>'],
  ])('%s bytes leave it unknown', async (_name, body) => {
    simulator.control.answerWith('hold', { body });
    expect(await client.hold(ask(), signal())).toMatchObject({ kind: 'unknown', cause: { code: 'bad-reply' } });
    simulator.control.answerWith('get', { body });
    await expect(client.get(id, signal())).rejects.toMatchObject({ code: 'bad-reply', retry: 'safe' });
  });

  it('to a step is invalid where the status, the amount or the hold is another', async () => {
    const reply = (body: unknown, route: string) => simulator.control.answerWith(route, { body: JSON.stringify(body) });
    reply(good, 'confirm');
    expect(await client.confirm(id, signal())).toMatchObject({ kind: 'invalid' });
    reply({ ...good, status: 'settled', settled: { amount: '2.00', currency: 'EUR' } }, 'settle');
    expect(await client.settle(id, { amountCents: '100', currency: 'EUR' }, signal())).toMatchObject({
      kind: 'invalid',
    });
    reply({ ...good, holdId: 'other', status: 'reversed', request: null }, 'reverse');
    expect(await client.reverse(id, 'acme', signal())).toMatchObject({ kind: 'invalid' });
    reply({ ...good, status: 'confirmed' }, 'reverse');
    expect(await client.reverse(id, 'acme', signal())).toMatchObject({ kind: 'invalid' });
  });

  it('of 404 without Finance’s own code does not read as never seen', async () => {
    simulator.control.answerWith('get', { status: 404, body: '{"code":"not_found"}' });
    await expect(client.get(id, signal())).rejects.toMatchObject({ code: 'bad-reply' });
    simulator.control.answerWith('confirm', { status: 404, body: '{"code":"not_found"}' });
    expect(await client.confirm(id, signal())).toMatchObject({ kind: 'invalid' });
    simulator.control.answerWith('hold', { status: 404, body: '{"code":"not_found"}' });
    expect(await client.hold(ask(), signal())).toMatchObject({ kind: 'invalid' });
  });

  it('of a status that is not Finance’s leaves it unknown, whatever its body', async () => {
    for (const status of [201, 202, 301, 307, 418, 500, 502]) {
      const body = JSON.stringify({ ...good, code: 'moved' });
      simulator.control.answerWith('hold', { status, headers: { location: `${simulator.url}/v1/holds` }, body });
      expect(await client.hold(ask(), signal())).toMatchObject({ kind: 'unknown', cause: { code: 'bad-reply' } });
    }
    expect(simulator.control.calls.length).toBe(7);
  });

  it('that refuses the request itself is a refusal', async () => {
    simulator.control.answerWith('hold', { status: 422, body: '{"code":"scale","detail":"amount"}' });
    expect(await client.hold(ask(), signal())).toMatchObject({ kind: 'refused', reason: { code: 'finance_scale' } });
  });

  it('is never asked for by amounts that are none', async () => {
    for (const amountCents of ['-1', '1.5', 'NaN', '', '1e3', '01', '1234567890123456789']) {
      await expect(client.hold(ask({ amountCents }), signal())).rejects.toThrow('amountCents');
    }
    await expect(client.get('../x', signal())).rejects.toThrow('hold id');
    await expect(client.get('..', signal())).rejects.toThrow('hold id');
    expect(simulator.control.calls).toEqual([]);
  });
});

describe('listing', () => {
  it('pages through every hold of the tenant once, in order of its last change, and goes on from a cursor', async () => {
    for (let i = 0; i < 7; i++)
      await client.hold(ask({ holdId: `h${i}`, tenant: i === 3 ? 'other' : 'acme' }), signal());
    await client.confirm('h0', signal());
    const seen: string[] = [];
    let cursor = '0';
    for (let more = true; more; ) {
      const page = await client.list('acme', cursor, signal(), 2);
      expect(page.holds.length).toBeLessThanOrEqual(2);
      seen.push(...page.holds.map((hold) => `${hold.holdId} ${hold.status}`));
      ({ cursor, more } = page);
    }
    expect(seen).toEqual(['h1 held', 'h2 held', 'h4 held', 'h5 held', 'h6 held', 'h0 confirmed']);
    expect(await client.list('acme', cursor, signal())).toMatchObject({ holds: [], more: false });
    await client.reverse('h1', 'acme', signal());
    expect(await client.list('acme', cursor, signal())).toMatchObject({
      holds: [{ holdId: 'h1', status: 'reversed' }],
      more: false,
    });
  });

  it('refuses cursors and limits that are none, and a page with another tenant’s hold', async () => {
    for (const since of ['99', 'x', '-1', '01', '1e3'])
      await expect(client.list('acme', since, signal())).rejects.toMatchObject({ code: 'bad-reply' });
    for (const query of ['tenant=acme&limit=0', 'tenant=acme&limit=501', 'tenant=acme&limit=1e2', 'tenant=A', '']) {
      expect((await fetch(`${simulator.url}/v1/holds?${query}`)).status).toBe(422);
    }
    await client.hold(ask(), signal());
    simulator.control.answerWith('list', {
      body: JSON.stringify({ holds: [simulator.get(id)], cursor: '1', more: false }),
    });
    await expect(client.list('other', '0', signal())).rejects.toMatchObject({ code: 'bad-reply' });
  });
});
