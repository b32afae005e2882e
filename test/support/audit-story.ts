import { generateKeyPairSync, sign } from 'node:crypto';
import { canonicalBytes, contentHash, type Json, sha256Hex } from '../../core/canonical.ts';
import { ed25519KeyId } from '../../core/ed25519.ts';
import { attemptKey, type BookingId } from '../../core/ids.ts';
import { p256KeyId, p256Point } from '../../core/p256.ts';
import { auditEventId, type NewAuditEvent } from '../../ledger/audit/append.ts';
import type { Roots } from '../../ledger/audit/roots.ts';
import { budgetAccount, capacityAccount, quotaAccount, spendAccount } from '../../ledger/quota/account.ts';
import type { TransferRecord } from '../../ledger/quota/transfer.ts';
import type { Signer } from '../../platform/signer.ts';

/** A signer with a key of its own. */
export function testSigner(): Signer {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const raw = publicKey.export({ format: 'der', type: 'spki' }).subarray(12);
  return {
    keyId: ed25519KeyId(raw),
    algorithm: 'ed25519',
    publicKey: raw,
    sign: async (bytes) => sign(null, bytes, privateKey),
  };
}

/** One with a key of P-256, as KMS and HSMs have them. */
export function p256Signer(): Signer {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const point = p256Point(publicKey.export({ format: 'der', type: 'spki' }))!;
  return {
    keyId: p256KeyId(point),
    algorithm: 'ecdsa-p256-sha256',
    publicKey: point,
    sign: async (bytes) => sign('sha256', bytes, privateKey),
  };
}

/** Roots that pin the signers for all of 2026 and 2027. */
export function rootsOf(...signers: readonly Signer[]): Roots {
  return {
    keys: new Map(
      signers.map(({ keyId, algorithm, publicKey }) => [
        keyId,
        { keyId, algorithm, publicKey, validFromMs: Date.UTC(2026, 0), validToMs: Date.UTC(2028, 0) },
      ]),
    ),
  };
}

export const TENANT = 'acme';
export const BOOKING = '01k2z0000000000000000000ab' as BookingId;
export const STORY_START_MS = Date.UTC(2026, 10, 23, 10);
const DIVISION = 'vision';
const TRACE = '0af7651916cd43dd8448eb211c80319c';

export const ACCOUNTS = {
  capacity: capacityAccount(TENANT, 'gpus', 'a100', 'gpu'),
  quota: quotaAccount(TENANT, DIVISION, 'gpus', 'a100', 'gpu'),
  budget: budgetAccount(TENANT, DIVISION, 'USD'),
  spend: spendAccount(TENANT, DIVISION, 'USD'),
};

export interface Story {
  readonly events: readonly NewAuditEvent[];
  /** Content named by the events. */
  readonly evidence: readonly Json[];
  readonly transfers: readonly TransferRecord[];
}

/** What a caller may change about the story, to tell a lie that is sealed all the same. */
export interface Lies {
  readonly data?: (type: string, data: { readonly [key: string]: Json }) => { readonly [key: string]: Json };
  readonly evidence?: (body: { readonly [key: string]: Json }) => Json;
  readonly transfers?: (transfers: readonly TransferRecord[]) => readonly TransferRecord[];
}

/**
 * A demotion that leads to a retrain, booked in two attempts: the first is undone before Finance held anything, the second
 * runs for 600 s, leaves a manifest, and is settled.
 */
export async function retrainStory(decider: Signer, lies: Lies = {}): Promise<Story> {
  const evidence: Json[] = [];
  const keep = (body: { readonly [key: string]: Json }) => {
    const told = lies.evidence?.(body) ?? body;
    evidence.push(told);
    return sha256Hex(canonicalBytes(told));
  };
  const events: NewAuditEvent[] = [];
  const tell = (subject: string, type: string, data: { readonly [key: string]: Json }) => {
    const at = new Date(STORY_START_MS + events.length * 1_000).toISOString();
    const told = lies.data?.(type, data) ?? data;
    events.push({ tenant: TENANT, subject, type, at, actor: 'merit/test', trace: TRACE, data: told });
  };
  const subject = `booking/${BOOKING}`;
  const book = (type: string, data: { readonly [key: string]: Json }) => tell(subject, type, data);

  const record = { action: 'demotion', suite: 'digits', model: 'digits-1', tick: '2026-11-23T10:00:00.000Z' };
  const signature = Buffer.from(await decider.sign(canonicalBytes(record))).toString('base64');
  const decision = keep({ record, keyId: decider.keyId, signature });
  tell('suite/digits', 'decision.demote', { model: 'digits-1', evidence: [decision] });

  const spec = {
    name: 'retrain-digits',
    division: DIVISION,
    model: 'digits',
    workdir: `code:${sha256Hex('code')}`,
    pools: ['gpus'],
    leaseMs: 3_600_000,
  };
  book('booking.created', {
    spec,
    specHash: contentHash(spec),
    codeHash: sha256Hex('code'),
    requester: 'merit/retrain',
    division: DIVISION,
    causes: [auditEventId(TENANT, 'suite/digits', 1)],
  });

  const placement = {
    pool: 'gpus',
    flavour: 'a100',
    provider: 'ray',
    gpuMilli: '2000',
    cpuMilli: '0',
    holdCents: '620',
    currency: 'USD',
    centsPerUnitHour: '310',
  };
  const policy = (attempt: number) => {
    const request = {
      format: 'merit-policy-request/1',
      requestId: attemptKey(BOOKING, attempt),
      tenant: TENANT,
      division: DIVISION,
      requester: 'merit/retrain',
      model: 'digits',
      contentHash: contentHash(spec),
      kind: 'allocation',
      pool: 'gpus',
      flavour: 'a100',
      provider: 'ray',
      gpuMilli: '2000',
      cpuMilli: '0',
      leaseMs: 3_600_000,
      cost: { amount: '6.20', currency: 'USD' },
    };
    const answer = {
      decision: 'allow',
      decisionId: `d${attempt}`,
      policyVersion: 'v7',
      requestHash: contentHash(request),
      signatures: 0,
      reasons: [],
    };
    return keep({ format: 'merit-evidence/1', peer: 'sentinelnet', request, answer });
  };
  const finance = (attempt: number, request: { readonly [key: string]: Json }, status: string, settled: Json) => {
    const holdId = `h-${BOOKING}-${attempt}`;
    const hold = {
      holdId,
      tenant: TENANT,
      division: DIVISION,
      bookingId: BOOKING,
      attempt,
      amount: { amount: '6.20', currency: 'USD' },
    };
    const asked = 'verb' in request ? { holdId, ...request } : hold;
    const answer = {
      holdId,
      tenant: TENANT,
      status,
      request: status === 'reversed' ? null : hold,
      settled,
      reason: null,
    };
    return keep({ format: 'merit-evidence/1', peer: 'finance', request: asked, answer });
  };
  const transfers: TransferRecord[] = [];
  const move = (...moved: readonly TransferRecord[]): Json => {
    const told = lies.transfers?.(moved) ?? moved;
    transfers.push(...told);
    return told.map((transfer) => ({ ...transfer }));
  };
  const id = (attempt: number, what: string) => `${BOOKING}-${attempt}-${what}`;
  const quota = { debit: ACCOUNTS.capacity, credit: ACCOUNTS.quota };
  const money = { debit: ACCOUNTS.budget, credit: ACCOUNTS.spend };
  const reserve = (attempt: number) =>
    move(
      { id: id(attempt, 'quota'), kind: 'pending', ...quota, amount: '2000' },
      { id: id(attempt, 'money'), kind: 'pending', ...money, amount: '620' },
    );
  const resolve = (attempt: number, kind: 'post' | 'void') =>
    move(
      { id: id(attempt, `quota-${kind}`), kind, ...quota, amount: '2000', pendingId: id(attempt, 'quota') },
      { id: id(attempt, `money-${kind}`), kind, ...money, amount: '620', pendingId: id(attempt, 'money') },
    );

  const away = { code: 'apply_timeout', text: 'Finance did not answer', mend: 'it is tried again by itself' };
  book('booking.reserved', {
    attempt: 1,
    placement,
    policyVersion: 'v7',
    evidence: [policy(1)],
    transfers: reserve(1),
  });
  book('booking.releasing', { attempt: 1, outcome: 'retry', reason: away });
  book('booking.waiting', {
    attempt: 1,
    reason: away,
    transfers: resolve(1, 'void'),
    evidence: [finance(1, { verb: 'reverse', body: { tenant: TENANT } }, 'reversed', null)],
  });

  book('booking.reserved', {
    attempt: 2,
    placement,
    policyVersion: 'v7',
    evidence: [policy(2)],
    transfers: reserve(2),
  });
  const holdId = `h-${BOOKING}-2`;
  book('booking.requesting', {
    attempt: 2,
    key: attemptKey(BOOKING, 2),
    holdId,
    evidence: [finance(2, {}, 'held', null)],
  });
  book('booking.confirming', { attempt: 2, handle: { provider: 'ray', id: 'raysubmit_1' } });
  const confirmed = finance(2, { verb: 'confirm', body: {} }, 'confirmed', null);
  book('booking.applied', { attempt: 2, policyVersion: 'v7', evidence: [confirmed], transfers: resolve(2, 'post') });
  book('log.ended', { attempt: 2, ended: 'complete', bytes: '3', sha256: sha256Hex('log') });
  const files = [
    { path: 'model.bin', size: 1_024, sha256: sha256Hex('model') },
    { path: 'reports.ndjson', size: 300, sha256: sha256Hex('reports') },
  ];
  const manifest = keep({
    format: 'merit-manifest/1',
    tenant: TENANT,
    booking: BOOKING,
    attempt: 2,
    job: 'retrain-digits',
    files,
    totalBytes: 1_324,
  });
  book('artifact.manifest', { attempt: 2, sha256: manifest, files: 2, bytes: 1_324, evidence: [manifest] });
  const done = { code: 'succeeded', text: 'the job ended by itself', mend: '' };
  book('booking.releasing', { attempt: 2, outcome: 'released', reason: done });
  // 2 GPUs for 600 s at 3.10 an hour: 1.0333, rounded up.
  const cost = { currency: 'USD', cents: '104', milliseconds: '600000', centsPerUnitHour: '310', unitsMilli: '2000' };
  book('booking.released', {
    attempt: 2,
    reason: done,
    cost,
    transfers: move(
      { id: id(2, 'quota-return'), kind: 'direct', debit: ACCOUNTS.quota, credit: ACCOUNTS.capacity, amount: '2000' },
      { id: id(2, 'money-refund'), kind: 'direct', debit: ACCOUNTS.spend, credit: ACCOUNTS.budget, amount: '516' },
    ),
    evidence: [
      finance(2, { verb: 'settle', body: { amount: { amount: '1.04', currency: 'USD' } } }, 'settled', {
        amount: '1.04',
        currency: 'USD',
      }),
    ],
  });
  return { events, evidence, transfers };
}
