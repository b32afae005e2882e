import { afterEach, beforeEach, expect, test } from 'vitest';
import { kernel } from '../../../../peers/kernel/client.ts';
import {
  ASK_AGAIN_MS,
  ROLES_KEPT_MS,
  type RoleBook,
  type RoleWatch,
  roleBook,
} from '../../../../peers/kernel/role-book.ts';
import { type KernelSimulator, startKernelSimulator } from '../../../../peers/kernel/simulator.ts';
import { systemClock } from '../../../../platform/clock.ts';
import { openHttpClient } from '../../../../platform/http-client.ts';

const ANN = 'oidc:ann';
let simulator: KernelSimulator;
let book: RoleBook;
let nowMs: number;
let told: string[];
let faults: string[];

beforeEach(async () => {
  simulator = await startKernelSimulator();
  simulator.setRoles('acme', ANN, ['operator']);
  nowMs = Date.parse('2026-11-02T00:00:00Z');
  told = [];
  faults = [];
  const watch: RoleWatch = {
    answered: (outcome) => void told.push(outcome),
    failed: ({ code }) => {
      told.push('failed');
      faults.push(code);
    },
    recovered: () => void told.push('recovered'),
  };
  const client = kernel({ http: openHttpClient({ origin: simulator.url }).send });
  book = roleBook({ kernel: client, clock: { ...systemClock, now: () => nowMs }, watch });
});
afterEach(() => simulator.close());

const ask = (person = ANN, tenant = 'acme') => book.rolesOf(tenant, person);
const asked = () => simulator.control.calls.length;
const operator = { kind: 'roles', roles: ['operator'] };

test('Kernel is asked once for many requests at once, and not again until the answer’s time is over', async () => {
  expect(await Promise.all(Array.from({ length: 50 }, () => ask()))).toEqual(
    Array.from({ length: 50 }, () => operator),
  );
  nowMs += ROLES_KEPT_MS - 1;
  expect(await ask()).toEqual(operator);
  expect(asked()).toBe(1);
  nowMs += 1;
  expect(await ask()).toEqual(operator);
  expect(asked()).toBe(2);
});

test('of each person in each tenant it is asked by itself', async () => {
  expect(await ask(ANN, 'rival')).toEqual({ kind: 'roles', roles: [] });
  expect(await ask('oidc:ben')).toEqual({ kind: 'roles', roles: [] });
  expect(await ask()).toEqual(operator);
  expect(told).toEqual(['none', 'none', 'roles']);
});

test('a role that was taken away is gone once its time is over, which counts from the question on', async () => {
  const gate = simulator.control.hold('roles', 'before-answer');
  const first = ask();
  await gate.reached;
  simulator.setRoles('acme', ANN, []);
  nowMs += ROLES_KEPT_MS;
  gate.open();
  expect(await first).toEqual(operator);
  expect(await ask()).toEqual({ kind: 'roles', roles: [] });
});

test('a lost answer grants nothing, though there was one before; it is asked again after a second, and told once', async () => {
  await ask();
  nowMs += ROLES_KEPT_MS;
  simulator.control.dropReply('roles', 2);
  const away = { kind: 'away', why: expect.stringContaining('does not answer') };
  expect(await ask()).toEqual(away);
  expect(await ask()).toEqual(away);
  expect(asked()).toBe(2);
  expect(book.state()).toContain('does not answer');
  nowMs += ASK_AGAIN_MS;
  expect(await ask()).toEqual(away);
  nowMs += ASK_AGAIN_MS;
  expect(await ask()).toEqual(operator);
  expect(told).toEqual(['roles', 'lost', 'failed', 'lost', 'roles', 'recovered']);
  expect(book.state()).toBe('says what people may do');
});

test('a Kernel that is silent is waited for no longer than its limit, and what is logged names that', async () => {
  const gate = simulator.control.hold('roles', 'before-answer');
  expect(await ask()).toEqual({ kind: 'away', why: expect.stringContaining('does not answer') });
  expect(faults).toEqual(['timeout']);
  gate.open();
});

test('an answer that is none grants nothing, and says so in other words than silence', async () => {
  simulator.control.answerWith('roles', { body: JSON.stringify({ allow: true, roles: ['admin'] }) });
  expect(await ask()).toEqual({ kind: 'away', why: expect.stringContaining('is no answer') });
  expect(told).toEqual(['invalid', 'failed']);
});

test('a clock that is set back keeps no role alive', async () => {
  await ask();
  simulator.setRoles('acme', ANN, []);
  nowMs -= 3_600_000;
  expect(await ask()).toEqual({ kind: 'roles', roles: [] });
});
