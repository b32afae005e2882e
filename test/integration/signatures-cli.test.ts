import { execFileSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { requireSameClock } from '../../api/cli/signing/sign.ts';
import { requireBound, type Shown } from '../../api/cli/signing/words.ts';
import { statementHash } from '../../core/approval.ts';
import { awaitingAllocation } from '../support/awaiting-allocation.ts';
import { runCli } from '../support/cli.ts';
import { type HttpWorld, httpWorld } from '../support/http-world.ts';
import { signingPolicy, testKey } from '../support/signers.ts';

let world: HttpWorld;
let home: string;
const [ann, ben, cid] = [testKey(), testKey(), testKey()];
const POLICY = signingPolicy({ ann, ben, cid });
const pool = {
  apiVersion: 'merit/v1',
  kind: 'Pool',
  name: 'cpus',
  provider: { kind: 'local' },
  flavours: [{ name: 'small', resource: 'cpu', capacity: 9, price: { currency: 'USD', perUnitHour: '0.50' } }],
  quotas: { vision: { small: 9 } },
};

beforeAll(async () => {
  world = await httpWorld();
  await world.app.listen({ host: '127.0.0.1', port: 0 });
  home = mkdtempSync(join(tmpdir(), 'merit-signing-'));
  const { port } = world.app.server.address() as AddressInfo;
  file('token', 'token-of-acme-0123456789\n');
  file('server.json', JSON.stringify({ url: `http://127.0.0.1:${port}`, tokenFile: join(home, 'token') }));
  for (const [name, { pem }] of Object.entries({ ann, ben, cid })) file(`${name}.pem`, pem);
  file('policy.json', JSON.stringify(POLICY));
  file('pool.json', JSON.stringify(pool));
  expect((await merit('apply', '-f', 'pool.json', '-f', 'policy.json')).code).toBe(0);
});
afterAll(async () => {
  await world?.close();
  rmSync(home, { recursive: true, force: true });
});

function file(name: string, text: string | Uint8Array): string {
  writeFileSync(join(home, name), text, { mode: 0o600 });
  return name;
}
const merit = (...args: string[]) => runCli(home, args);
const waiting = () => awaitingAllocation(world, POLICY);
const proposal = async (id: string) => (await world.call('GET', `/v1/proposals/${id}`)).json() as Shown;

describe('merit signer', () => {
  test('makes a key that only its owner reads, once, and shows what is public of it', async () => {
    const made = await merit('signer', 'new', 'me.pem', '-o', 'json');
    expect(made.code).toBe(0);
    expect(statSync(join(home, 'me.pem')).mode & 0o777).toBe(0o600);
    const shown = await merit('signer', 'show', 'me.pem', '-o', 'json');
    expect(JSON.parse(shown.out)).toEqual(JSON.parse(made.out));
    expect(made.out + made.err).not.toContain('PRIVATE');
    const bytes = readFileSync(join(home, 'me.pem'));
    expect(await merit('signer', 'new', 'me.pem')).toMatchObject({
      code: 3,
      err: expect.stringContaining('never replaced'),
    });
    expect(readFileSync(join(home, 'me.pem'))).toEqual(bytes);
  });

  test('encrypts a key with a passphrase from a file, without which it neither opens nor hangs', async () => {
    file('pass', 'correct-horse\n');
    file('wrong', 'battery-staple\n');
    expect((await merit('signer', 'new', 'safe.pem', '--passphrase-file', 'pass')).code).toBe(0);
    expect((await merit('signer', 'show', 'safe.pem', '--passphrase-file', 'pass')).code).toBe(0);
    expect(await merit('signer', 'show', 'safe.pem')).toMatchObject({
      code: 4,
      err: expect.stringContaining('--passphrase-file'),
    });
    expect((await merit('signer', 'show', 'safe.pem', '--passphrase-file', 'wrong')).code).toBe(4);
  });

  test('refuses an RSA key, one that others may read, and what is no key', async () => {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    file('rsa.pem', privateKey.export({ type: 'pkcs8', format: 'pem' }).toString());
    expect(await merit('signer', 'show', 'rsa.pem')).toMatchObject({
      code: 3,
      err: expect.stringContaining('rsa, not Ed25519'),
    });
    file('open.pem', ann.pem);
    chmodSync(join(home, 'open.pem'), 0o644);
    expect(await merit('signer', 'show', 'open.pem')).toMatchObject({
      code: 3,
      err: expect.stringContaining('chmod 600'),
    });
    expect((await merit('signer', 'show', 'policy.json')).code).toBe(3);
    expect((await merit('signer', 'show', 'absent.pem')).code).toBe(78);
  });
});

describe('merit allocations', () => {
  test('approve shows in words what is signed, signs it here, and the second one lets it go on', async () => {
    const { id } = await waiting();
    expect((await merit('allocations', 'ls', '--state', 'awaiting_signatures', '-o', 'name')).out).toContain(id);
    expect(await merit('allocations', 'approve', id, '--key', 'ann.pem')).toMatchObject({ code: 2 });
    const first = await merit('allocations', 'approve', id, '--key', 'ann.pem', '--yes');
    expect(first.code).toBe(0);
    for (const words of [
      'you say',
      'yes: a large allocation goes on',
      'token:acme, for division vision',
      'cpus/small on local',
      '1 CPUs for 1h',
      '50.00 USD',
      'sign by',
    ])
      expect(first.err).toContain(words);
    expect(first.out).toMatch(/missing +1 person/);
    const again = await merit('allocations', 'approve', id, '--key', 'ann.pem', '--yes', '-o', 'json');
    expect([again.code, JSON.parse(again.out).already, JSON.parse(again.out).signed.length]).toEqual([0, true, 1]);
    expect(again.err).toContain('already_approved');
    const last = await merit('allocations', 'approve', id, '--key', 'ben.pem', '--yes', '-o', 'json');
    expect(JSON.parse(last.out)).toMatchObject({ state: 'met' });
    expect((await merit('allocations', 'get', id)).out).toMatch(/signed by +ann .*ben/);
    expect(await merit('allocations', 'approve', id, '--key', 'cid.pem', '--yes')).toMatchObject({ code: 5 });
  });

  test('approve takes a signature that was made elsewhere, with merit or with openssl alone', async () => {
    const { id, proposal: of } = await waiting();
    expect((await merit('allocations', 'approve', id, '--out', 'what')).code).toBe(0);
    expect((await proposal(of.id)).signed).toEqual([]);
    const signed = await merit('signer', 'sign', 'what', '--key', 'ann.pem', '--out', 'ann.sig', '--yes');
    expect([signed.code, signed.err]).toEqual([0, expect.stringContaining('50.00 USD')]);
    expect((await merit('allocations', 'approve', id, '--signature', 'ann.sig')).code).toBe(0);
    execFileSync('openssl', ['pkeyutl', '-sign', '-rawin', '-inkey', 'ben.pem', '-in', 'what', '-out', 'ben.sig'], {
      cwd: home,
    });
    expect((await merit('allocations', 'approve', id, '--signature', 'ben.sig')).code).toBe(2);
    const done = await merit(
      'allocations',
      'approve',
      id,
      '--signature',
      'ben.sig',
      '--key-id',
      ben.keyId,
      '-o',
      'json',
    );
    expect(JSON.parse(done.out)).toMatchObject({ state: 'met' });
  });

  test('approve of what is no longer proposed ends with 5 and shows field by field what differs', async () => {
    const [one, other] = [await waiting(), await waiting()];
    await merit('allocations', 'approve', one.id, '--out', 'old');
    await merit('signer', 'sign', 'old', '--key', 'ann.pem', '--out', 'old.sig', '--yes');
    const refused = await merit('allocations', 'approve', other.id, '--signature', 'old.sig');
    expect(refused.code).toBe(5);
    expect(refused.err).toMatch(/nonce: signed [0-9a-f]{64}, now [0-9a-f]{64}/);
    expect(refused.err).toContain(`subject.id: signed ${one.id}, now ${other.id}`);
    expect((await proposal(other.proposal.id)).signed).toEqual([]);
  });

  test.each([
    ['a key of nobody who may sign', ['--key', 'me.pem', '--yes'], 3],
    ['no key', ['--yes'], 2],
    ['a file that is no signature', ['--signature', 'policy.json'], 3],
  ])('approve with %s changes nothing', async (_what, flags, code) => {
    if (!existsSync(join(home, 'me.pem'))) await merit('signer', 'new', 'me.pem');
    const { id, proposal: of } = await waiting();
    const ended = await merit('allocations', 'approve', id, ...flags);
    expect(ended.code).toBe(code);
    expect((await proposal(of.id)).signed).toEqual([]);
  });

  test('revoke of what holds nothing says so', async () => {
    const { id } = await waiting();
    expect(await merit('allocations', 'revoke', id, '--reason', 'it mines coins')).toMatchObject({ code: 2 });
    expect(await merit('allocations', 'revoke', id, '--reason', 'it mines coins', '--yes')).toMatchObject({
      code: 5,
      err: expect.stringContaining('cancel it'),
    });
  });
});

describe('merit proposals', () => {
  test('new, approve, reject and ls change who may sign, with the signatures of those who may now', async () => {
    file('next.json', JSON.stringify({ ...POLICY, people: POLICY.people.slice(0, 2) }));
    expect(await merit('apply', '-f', 'next.json')).toMatchObject({
      code: 3,
      err: expect.stringContaining('merit proposals new'),
    });
    const id = (await merit('proposals', 'new', '-f', 'next.json', '--reason', 'cid left', '-o', 'name')).out.trim();
    expect((await merit('proposals', 'ls', '-o', 'name')).out).toContain(id);
    const own = await merit('proposals', 'reject', id, '--key', 'cid.pem', '--yes');
    expect([own.code, own.err]).toEqual([5, expect.stringContaining('takes this key away')]);
    const rejected = await merit('proposals', 'reject', id, '--key', 'ben.pem', '--yes');
    expect([rejected.code, rejected.err]).toEqual([0, expect.stringContaining('NO: other people')]);
    expect((await merit('proposals', 'ls', '-o', 'name')).out).not.toContain(id);
    const next = (await merit('proposals', 'new', '-f', 'next.json', '-o', 'name')).out.trim();
    const ofAnn = await merit('proposals', 'approve', next, '--key', 'ann.pem', '--yes');
    for (const said of [
      'people.0.name',
      `people.0.keys.0.publicKey`,
      ann.publicKey,
      ben.publicKey,
      'changes.signatures',
    ])
      expect(ofAnn.err).toContain(said);
    expect((await merit('proposals', 'approve', next, '--key', 'ben.pem', '--yes')).out).toMatch(/state +done/);
    expect((await merit('signing-policy', 'get')).out).not.toContain(cid.publicKey);
    expect(await merit('proposals', 'get', 'nope')).toMatchObject({ code: 9 });
    file(
      'weak.json',
      JSON.stringify({
        ...POLICY,
        people: [...POLICY.people, { name: 'dan', keys: [{ publicKey: `${'A'.repeat(43)}=` }] }],
      }),
    );
    expect(await merit('proposals', 'new', '-f', 'weak.json')).toMatchObject({
      code: 3,
      err: expect.stringContaining('proves nothing'),
    });
  });
});

describe('what is signed', () => {
  test('is signed by no clock that is minutes off', async () => {
    const { proposal: of } = await waiting();
    const shown = await proposal(of.id);
    const at = Date.parse(shown.now);
    expect(() => requireSameClock(shown, at + 60_000)).not.toThrow();
    for (const off of [600_000, -600_000])
      expect(() => requireSameClock(shown, at + off)).toThrow(
        expect.objectContaining({ exitCode: 4, code: 'clock_skew' }),
      );
  });

  test('is what is shown, or nothing is signed', async () => {
    const { proposal: of } = await waiting();
    const shown = await proposal(of.id);
    expect(() => requireBound(shown)).not.toThrow();
    const amount = { currency: 'USD', scale: 2, minor: '1' };
    const cheaper = { ...shown.statement, amount };
    for (const false_ of [
      { ...shown, content: { ...shown.content, pool: 'other' } },
      { ...shown, statementHash: '0'.repeat(64) },
      { ...shown, statement: cheaper },
      { ...shown, statement: cheaper, statementHash: statementHash(cheaper) },
      { ...shown, id: 'other' },
    ])
      expect(() => requireBound(false_)).toThrow(expect.objectContaining({ exitCode: 10 }));
  });
});
