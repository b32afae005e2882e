import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import type { ConnectionOptions } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { finance, type HoldAsk } from '../../peers/finance/client.ts';
import { sentinelNet } from '../../peers/sentinelnet/client.ts';
import type { AllocationRequest } from '../../peers/sentinelnet/wire.ts';
import { SIMULATORS_FILE, type SimulatorsRecord } from '../../peers/simulators.ts';
import { devSpiffeId, ensureDevCertificates } from '../../platform/dev-ca.ts';
import { openHttpClient } from '../../platform/http-client.ts';
import { clientTls, loadTls } from '../../platform/mtls.ts';
import { processStart } from '../../platform/processes.ts';

const script = fileURLToPath(new URL('../../peers/simulators.ts', import.meta.url));
/** As production reaches a peer. Its sockets end with the peer. */
const httpTo = (origin: string, tls?: ConnectionOptions) =>
  openHttpClient({ origin, ...(tls === undefined ? {} : { tls }) }).send;
const signal = () => new AbortController().signal;
const request: AllocationRequest = {
  format: 'merit-policy-request/1',
  kind: 'allocation',
  requestId: 'm-01jd0000000000000000000000-1',
  tenant: 'acme',
  division: 'vision',
  requester: 'ada',
  model: null,
  contentHash: 'a'.repeat(64),
  pool: 'ray',
  flavour: 'gpu',
  provider: 'ray',
  gpuMilli: '1000',
  cpuMilli: '1000',
  leaseMs: 1000,
  cost: { amount: '12.50', currency: 'EUR' },
};
const ask = (holdId: string): HoldAsk => ({
  holdId,
  tenant: 'acme',
  division: 'vision',
  bookingId: 'b',
  attempt: 1,
  amountCents: '1250',
  currency: 'EUR',
});

type Child = ChildProcessByStdio<Writable, null, Readable>;
let stateDir: string;
let children: Child[];

beforeEach(() => {
  stateDir = mkdtempSync(join(tmpdir(), 'merit-simulators-'));
  children = [];
});
afterEach(async () => {
  for (const child of children) {
    child.stdin.end();
    await exitOf(child);
  }
  rmSync(stateDir, { recursive: true, force: true });
});

function start(...flags: string[]): Child {
  const child = spawn(process.execPath, [script, '--state', stateDir, ...flags], { stdio: ['pipe', 'ignore', 'pipe'] });
  children.push(child);
  return child;
}

function exitOf(child: Child): Promise<number | null> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve(child.exitCode);
  return new Promise((resolve) => child.once('exit', (code) => resolve(code)));
}

const pause = () => new Promise((resolve) => setTimeout(resolve, 20));

/** The record of the process with this id, once it is written; fails when that process ends first. */
async function recordOf(child: Child): Promise<SimulatorsRecord> {
  for (;;) {
    if (child.exitCode !== null) throw new Error(`it ended with ${child.exitCode}`);
    if (existsSync(join(stateDir, SIMULATORS_FILE))) {
      const record = JSON.parse(readFileSync(join(stateDir, SIMULATORS_FILE), 'utf8')) as SimulatorsRecord;
      if (record.pid === child.pid) return record;
    }
    await pause();
  }
}

async function errorsOf(child: Child): Promise<string> {
  let text = '';
  for await (const part of child.stderr) text += String(part);
  return text;
}

describe('the simulators as a process', () => {
  it('say where they listen, answer, and end with their stdin', async () => {
    const child = start();
    const record = await recordOf(child);
    expect(await sentinelNet({ http: httpTo(record.sentinelnet.url) }).decide(request, signal())).toMatchObject({
      kind: 'allow',
    });
    expect(await finance({ http: httpTo(record.finance.url) }).hold(ask('a'), signal())).toMatchObject({
      kind: 'held',
    });
    child.stdin.end();
    expect(await exitOf(child)).toBe(0);
    expect(existsSync(join(stateDir, SIMULATORS_FILE))).toBe(false);
  });

  it.each(['SIGTERM', 'SIGINT'] as const)('end on %s', async (name) => {
    const child = start();
    await recordOf(child);
    child.kill(name);
    expect(await exitOf(child)).toBe(0);
  });

  it('end when the process that started them is killed, though another holds their stdin open', async () => {
    const parentScript = `
      const { spawn } = require('node:child_process');
      const child = spawn(process.execPath, ${JSON.stringify([script, '--state', stateDir])}, { stdio: [3, 'ignore', 'inherit'] });
      process.stdin.resume();
    `;
    // Descriptor 3 is a pipe of this test's: it stays open when the parent dies.
    const parent = spawn(process.execPath, ['-e', parentScript], { stdio: ['pipe', 'ignore', 'inherit', 'pipe'] });
    const file = join(stateDir, SIMULATORS_FILE);
    while (!existsSync(file)) await pause();
    const { pid } = JSON.parse(readFileSync(file, 'utf8')) as SimulatorsRecord;
    expect(processStart(pid)).toBeDefined();
    parent.kill('SIGKILL');
    while (processStart(pid) !== undefined) await pause();
    parent.stdio[3]?.destroy();
    expect(existsSync(file)).toBe(false);
  });

  it('keep every hold that was answered through kill -9, and take over the folder at once', async () => {
    const first = start();
    const book = finance({ http: httpTo((await recordOf(first)).finance.url) });
    const answered: string[] = [];
    const flood = (async () => {
      for (let i = 0; ; i++) {
        const outcome = await book.hold(ask(`h${i}`), signal()).catch(() => undefined);
        if (outcome?.kind !== 'held') return;
        answered.push(`h${i}`);
        if (answered.length === 40) first.kill('SIGKILL');
      }
    })();
    await flood;
    expect(answered.length).toBeGreaterThanOrEqual(40);
    const second = start();
    const again = finance({ http: httpTo((await recordOf(second)).finance.url) });
    for (const holdId of answered) expect(await again.get(holdId, signal())).toMatchObject({ status: 'held' });
  });

  it('are one a folder: a second waits for the first to end', async () => {
    const first = start();
    await recordOf(first);
    const second = start();
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(second.exitCode).toBeNull();
    first.stdin.end();
    await exitOf(first);
    expect((await recordOf(second)).pid).toBe(second.pid);
  });

  it('follow their settings files, and decide nothing while one is wrong', async () => {
    const child = start();
    const record = await recordOf(child);
    const policy = sentinelNet({ http: httpTo(record.sentinelnet.url) });
    const money = finance({ http: httpTo(record.finance.url) });
    const before = await policy.currentPolicyVersion(signal());
    const rulesFile = join(stateDir, 'simulators', 'policy-rules.json');
    const rules = JSON.parse(readFileSync(rulesFile, 'utf8')) as object;
    writeFileSync(
      rulesFile,
      JSON.stringify({ ...rules, deny: [{ name: 'no-vision', division: 'vision', text: 'vision is closed' }] }),
    );
    expect(await policy.decide(request, signal())).toMatchObject({ kind: 'deny', reasons: [{ code: 'no-vision' }] });
    expect(await policy.currentPolicyVersion(signal())).not.toBe(before);
    writeFileSync(rulesFile, '{"format":');
    await expect(policy.decide(request, signal())).rejects.toMatchObject({ code: 'unreachable', retry: 'safe' });
    await expect(policy.currentPolicyVersion(signal())).rejects.toMatchObject({ retry: 'safe' });
    writeFileSync(rulesFile, JSON.stringify(rules));
    expect(await policy.decide(request, signal())).toMatchObject({ kind: 'allow', policyVersion: before });
    const budgets = { format: 'merit-budgets/1', otherwise: 'refuse', budgets: [] };
    writeFileSync(join(stateDir, 'simulators', 'budgets.json'), JSON.stringify(budgets));
    expect(await money.hold(ask('x'), signal())).toMatchObject({ kind: 'refused', reason: { code: 'no_budget' } });
  });

  it('refuse to start on wrong settings (78) and wrong usage (2), and say why', async () => {
    const usage = spawn(process.execPath, [script, '--stat', stateDir], { stdio: ['pipe', 'ignore', 'pipe'] });
    children.push(usage);
    expect(await errorsOf(usage)).toContain('usage');
    expect(await exitOf(usage)).toBe(2);
    const good = start();
    await recordOf(good);
    good.stdin.end();
    await exitOf(good);
    writeFileSync(
      join(stateDir, 'simulators', 'budgets.json'),
      '{"format":"merit-budgets/1","otherwise":"maybe","budgets":[]}',
    );
    const bad = start();
    expect(await errorsOf(bad)).toMatch(/budgets\.json: otherwise/);
    expect(await exitOf(bad)).toBe(78);
    expect(existsSync(join(stateDir, SIMULATORS_FILE))).toBe(false);
  });
});

describe('the simulators over mTLS', () => {
  it('let in the one caller that is named, and nobody else; the client takes them for themselves only', async () => {
    const dir = join(stateDir, 'tls');
    const files = await ensureDevCertificates({
      dir,
      services: ['merit', 'sentinelnet', 'finance', 'stranger'],
      nowMs: Date.now(),
    });
    const child = start('--tls', dir, '--caller', devSpiffeId('merit'));
    const record = await recordOf(child);
    expect(record.sentinelnet.url).toMatch(/^https:\/\/127\.0\.0\.1:\d+$/);
    const merit = await loadTls(files.merit, Date.now());
    const stranger = await loadTls(files.stranger, Date.now());
    const policy = (material: typeof merit, expected: string) =>
      sentinelNet({ http: httpTo(record.sentinelnet.url, clientTls(material, [devSpiffeId(expected)])) });
    expect(await policy(merit, 'sentinelnet').decide(request, signal())).toMatchObject({ kind: 'allow' });
    await expect(policy(stranger, 'sentinelnet').decide(request, signal())).rejects.toMatchObject({
      code: 'auth',
      retry: 'never',
    });
    await expect(policy(merit, 'finance').decide(request, signal())).rejects.toMatchObject({ name: 'OperatingError' });
    const money = finance({ http: httpTo(record.finance.url, clientTls(merit, [devSpiffeId('finance')])) });
    expect(await money.hold(ask('a'), signal())).toMatchObject({ kind: 'held' });
    const other = await ensureDevCertificates({ dir: join(stateDir, 'other'), services: ['merit'], nowMs: Date.now() });
    const foreign = { ...(await loadTls(other.merit, Date.now())), ca: merit.ca };
    await expect(policy(foreign, 'sentinelnet').decide(request, signal())).rejects.toMatchObject({
      name: 'OperatingError',
    });
    const bare = { ...clientTls(merit, [devSpiffeId('sentinelnet')]) };
    delete bare.cert;
    delete bare.key;
    await expect(
      sentinelNet({ http: httpTo(record.sentinelnet.url, bare) }).decide(request, signal()),
    ).rejects.toMatchObject({ name: 'OperatingError' });
  });
});
