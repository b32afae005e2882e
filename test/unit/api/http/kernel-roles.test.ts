import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { identifier } from '../../../../api/http/identify.ts';
import { buildHttpServer } from '../../../../api/http/server.ts';
import { ACCESS_ROLES, type AccessRole, FUNCTIONS, functionsOf } from '../../../../core/access.ts';
import { kernel } from '../../../../peers/kernel/client.ts';
import { roleBook } from '../../../../peers/kernel/role-book.ts';
import { type KernelSimulator, startKernelSimulator } from '../../../../peers/kernel/simulator.ts';
import { systemClock } from '../../../../platform/clock.ts';
import { openHttpClient } from '../../../../platform/http-client.ts';
import { fakeServices, TOKEN } from './fake-services.ts';

/** What a person may do where Kernel has its say: what the roles here and Kernel's both grant, and nothing where Kernel’s are not known. */

const ANN = 'oidc:ann';
const JWT = 'e30e30e30e30.e30e30e30e30.e30e30e30e30';
const ROLES = Object.keys(ACCESS_ROLES) as AccessRole[];
let simulator: KernelSimulator;

beforeEach(async () => {
  simulator = await startKernelSimulator();
});
afterEach(() => simulator.close());

/** Ann, whose groups give her these roles here. */
function identifyAnn(local: readonly AccessRole[]) {
  const watch = { answered: () => {}, failed: () => {}, recovered: () => {} };
  const book = roleBook({
    kernel: kernel({ http: openHttpClient({ origin: simulator.url }).send }),
    clock: systemClock,
    watch,
  });
  return identifier({
    local: {
      token: TOKEN,
      identity: { principal: 'token:local', tenant: 'acme', functions: FUNCTIONS, producers: 'any' },
    },
    oidc: async () => ({ kind: 'person', principal: ANN, tenant: 'acme', functions: functionsOf(local) }),
    kernel: book.rolesOf,
    service: undefined,
  });
}

const bearer = (token: string) => ({ authorization: `Bearer ${token}`, tls: undefined });

describe.each(ROLES)('a person who is %s here', (local) => {
  test.each(ROLES)('and %s by Kernel may do what both grant', async (told) => {
    simulator.setRoles('acme', ANN, [told]);
    const found = await identifyAnn([local])(bearer(JWT));
    const both = functionsOf([local]).filter((one) => functionsOf([told]).includes(one));
    if (both.length === 0) expect(found).toMatchObject({ refused: 'stranger', principal: ANN });
    else expect(found).toEqual({ principal: ANN, tenant: 'acme', functions: both, producers: 'any' });
  });
});

test('whom Kernel does not know has no right, whatever the groups say', async () => {
  expect(await identifyAnn(['admin', 'auditor'])(bearer(JWT))).toMatchObject({ refused: 'stranger', principal: ANN });
});

test('the installation’s token is nobody’s of Kernel’s, and opens the door while Kernel is away', async () => {
  await simulator.close();
  expect(await identifyAnn([])(bearer(TOKEN))).toMatchObject({ principal: 'token:local', functions: FUNCTIONS });
  simulator = await startKernelSimulator();
});

test('over HTTP a lost answer is 503 with a time to come back, a role that is missing 403, and both are told of', async () => {
  const fake = fakeServices();
  const app = buildHttpServer({ ...fake.services, identify: identifyAnn(['viewer']) });
  const ask = () =>
    app.inject({ method: 'GET', url: '/v1/jobs', headers: { host: 'localhost', authorization: `Bearer ${JWT}` } });
  try {
    simulator.control.dropReply('roles');
    const lost = await ask();
    expect([lost.statusCode, lost.json().code, lost.headers['retry-after']]).toEqual([503, 'identity_away', '1']);
    expect(lost.json().detail).toContain('Kernel');
    expect(fake.denied.at(-1)).toMatchObject({ why: 'away', principal: undefined });
    simulator.setRoles('acme', ANN, ['reporter']);
    await expect.poll(async () => (await ask()).statusCode, { timeout: 10_000 }).toBe(403);
    expect((await ask()).json().detail).toBe('Kernel grants this person no role that counts here');
    expect(fake.denied.at(-1)).toMatchObject({ why: 'stranger', principal: ANN });
  } finally {
    await app.close();
  }
});
