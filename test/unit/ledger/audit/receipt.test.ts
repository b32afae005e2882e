import { describe, expect, test } from 'vitest';
import { contentHash, type Json, sha256Hex } from '../../../../core/canonical.ts';
import { verifyFile } from '../../../../ledger/audit/verify.ts';
import { receiptFile } from '../../../support/audit-files.ts';
import { BOOKING, type Lies, retrainStory, rootsOf, testSigner } from '../../../support/audit-story.ts';

const signer = testSigner();
const decider = testSigner();
const roots = rootsOf(signer, decider);

type Body = { readonly [key: string]: Json };

/** A story told by whoever holds the keys: every hash and signature is right, and yet it cannot be true. */
async function findingsOf(lies: Lies, by = decider) {
  return verifyFile(Buffer.from(await receiptFile(await retrainStory(by, lies), signer)), roots);
}

const inData = (type: string, change: Body, nth = 1): NonNullable<Lies['data']> =>
  (() => {
    let seen = 0;
    return (told, data) => (told === type && ++seen === nth ? { ...data, ...change } : data);
  })();

const part = (body: Body, name: string): Body => body[name] as Body;
const inAnswer =
  (is: (body: Body) => boolean, change: Body): NonNullable<Lies['evidence']> =>
  (body) =>
    is(body) ? { ...body, answer: { ...part(body, 'answer'), ...change } } : body;
/** Another question, with the answer to that. */
const asking =
  (attempt: number, change: Body): NonNullable<Lies['evidence']> =>
  (body) => {
    if (!ofPolicy(body) || part(body, 'request').requestId !== `m-${BOOKING}-${attempt}`) return body;
    const request = { ...part(body, 'request'), ...change };
    return { ...body, request, answer: { ...part(body, 'answer'), requestHash: contentHash(request) } };
  };
const ofPolicy = (body: Body) => body.peer === 'sentinelnet';
const isVerb = (verb: string) => (body: Body) => body.peer === 'finance' && part(body, 'request').verb === verb;
const isHold = (body: Body) => body.peer === 'finance' && part(body, 'request').verb === undefined;

describe('a receipt that is signed and complete but not true', () => {
  const lies: readonly (readonly [rule: string, lies: Lies, problem: RegExp])[] = [
    [
      'a spec that is not the one hashed',
      { data: inData('booking.created', { specHash: sha256Hex('other') }) },
      /not the hash of the spec/,
    ],
    [
      'code that the spec does not name',
      { data: inData('booking.created', { codeHash: sha256Hex('other') }) },
      /not the code the spec names/,
    ],
    [
      'a division that the spec does not name',
      { data: inData('booking.created', { division: 'audio' }) },
      /not the spec’s/,
    ],
    ['an attempt out of turn', { data: inData('booking.requesting', { attempt: 1 }) }, /is not 2/],
    ['an attempt that did not grow', { data: inData('booking.reserved', { attempt: 1 }, 2) }, /is not 2/],
    [
      'an outcome that is not the end',
      { data: inData('booking.releasing', { outcome: 'failed' }, 2) },
      /does not fit the outcome/,
    ],
    [
      'another attempt’s key at the provider',
      { data: inData('booking.requesting', { key: `m-${BOOKING}-1` }) },
      /not the key of this attempt/,
    ],
    [
      'a handle of another provider',
      { data: inData('booking.confirming', { handle: { provider: 'local', id: '1' } }) },
      /not of the provider that was booked/,
    ],
    [
      'a policy that answered another request',
      { evidence: inAnswer(ofPolicy, { requestHash: sha256Hex('other') }) },
      /policy answer to another request/,
    ],
    [
      'a policy that denied it',
      { evidence: inAnswer(ofPolicy, { decision: 'deny' }) },
      /no policy answer that allows it/,
    ],
    [
      'a policy version that did not allow it',
      { data: inData('booking.applied', { policyVersion: 'v8' }) },
      /not one that allowed it/,
    ],
    [
      'a placement the policy was not asked about',
      {
        data: (type, data) =>
          type === 'booking.reserved' ? { ...data, placement: { ...part(data, 'placement'), flavour: 'h100' } } : data,
      },
      /not what the policy was asked about/,
    ],
    [
      'a policy that was asked about another attempt',
      { evidence: asking(2, { requestId: `m-${BOOKING}-1` }) },
      /policy answer to m-[0-9a-z]+-1, which is not m-[0-9a-z]+-2/,
    ],
    [
      'a policy that was asked about a shorter lease',
      { evidence: asking(2, { leaseMs: 60_000 }) },
      /policy answer about another lease than 3600000 ms/,
    ],
    [
      'a policy that was asked about a task of an array, where it is none',
      { evidence: asking(1, { tasks: 3 }) },
      /policy answer about other tasks than none/,
    ],
    [
      'a policy that was not told that it is one of many',
      {
        data: (type, data) => {
          if (type !== 'booking.created') return data;
          const spec = { ...part(data, 'spec'), array: { count: 3, index: 0, id: BOOKING } };
          return { ...data, spec, specHash: contentHash(spec) };
        },
      },
      /policy answer about other tasks than 3/,
    ],
    ['a hold that Finance refused', { evidence: inAnswer(isHold, { status: 'refused' }) }, /not granted/],
    [
      'a hold of another booking',
      {
        evidence: (body) =>
          isHold(body) ? { ...body, request: { ...part(body, 'request'), bookingId: 'other' } } : body,
      },
      /hold of another booking/,
    ],
    [
      'a hold of another amount',
      {
        evidence: (body) =>
          isHold(body)
            ? { ...body, request: { ...part(body, 'request'), amount: { amount: '6.21', currency: 'USD' } } }
            : body,
      },
      /hold of another amount/,
    ],
    ['no confirmation', { evidence: inAnswer(isVerb('confirm'), { status: 'held' }) }, /no confirmation/],
    [
      'another settlement than the cost',
      { evidence: inAnswer(isVerb('settle'), { settled: { amount: '1.05', currency: 'USD' } }) },
      /not what Finance settled/,
    ],
    [
      'a cost that is not time by price',
      {
        data: inData('booking.released', {
          cost: { currency: 'USD', cents: '104', milliseconds: '900000', centsPerUnitHour: '310', unitsMilli: '2000' },
        }),
      },
      /not units × time × price/,
    ],
    [
      'a cost that is not what moved',
      {
        data: inData('booking.released', {
          cost: { currency: 'USD', cents: '103', milliseconds: '600000', centsPerUnitHour: '310', unitsMilli: '2000' },
        }),
      },
      /posted less refunded/,
    ],
    [
      'no cost though money was spent',
      {
        data: (type, { cost: _, ...data }) =>
          type === 'booking.released' ? data : { ...data, ...(_ === undefined ? {} : { cost: _ }) },
      },
      /though money was spent/,
    ],
    [
      'capacity that was not returned',
      { transfers: (moved) => moved.filter(({ id }) => !id.endsWith('quota-return')) },
      /leave 2000 of capacity/,
    ],
    [
      'a transfer that stays pending',
      { transfers: (moved) => moved.filter(({ id }) => id !== `${BOOKING}-1-quota-void`) },
      /still pending/,
    ],
    [
      'more posted than was pending',
      { transfers: (moved) => moved.map((t) => (t.id.endsWith('money-post') ? { ...t, amount: '621' } : t)) },
      /does not fit its pending/,
    ],
    [
      'another tenant’s account',
      { transfers: (moved) => moved.map((t) => ({ ...t, credit: t.credit.replace(':acme:', ':globex:') })) },
      /another tenant/,
    ],
    [
      'money held that is not the placement’s',
      { transfers: (moved) => moved.map((t) => (t.id.endsWith('-money') ? { ...t, amount: '700' } : t)) },
      /not the money made pending/,
    ],
    [
      'a manifest of another booking',
      { evidence: (body) => (body.format === 'merit-manifest/1' ? { ...body, booking: 'other' } : body) },
      /manifest of another booking/,
    ],
    ['a log of another attempt', { data: inData('log.ended', { attempt: 1 }) }, /is not 2/],
    ['a log without its hash', { data: inData('log.ended', { sha256: null }) }, /not the hash of a log/],
    ['another end of a log', { data: inData('log.ended', { ended: 'mended' }) }, /no end of a log/],
    ['another count of files', { data: inData('artifact.manifest', { files: 3 }) }, /not the manifest’s/],
    [
      'a decision about another model',
      { data: inData('decision.demote', { model: 'digits-2' }) },
      /not that of the decision/,
    ],
    [
      'a decision changed after signing',
      {
        evidence: (body) =>
          'record' in body
            ? { ...body, record: { ...part(body, 'record'), model: 'digits-1', tick: '2026-11-23T11:00:00.000Z' } }
            : body,
      },
      /bad_signature/,
    ],
    [
      'evidence that is not there',
      { data: inData('booking.confirming', { evidence: [sha256Hex('gone')] }) },
      /which is missing/,
    ],
    [
      'a cause that is not there',
      { data: inData('booking.created', { causes: ['0'.repeat(32)] }) },
      /which is missing/,
    ],
  ];

  test.each(lies)('%s', async (_, told, problem) => {
    const { code, findings } = await findingsOf(told);
    expect(findings.map((finding) => finding.problem).join('\n')).toMatch(problem);
    expect(code).toBe(10);
    for (const finding of findings) expect(finding.line).toBeGreaterThan(0);
  });

  test('the same story without a lie holds, so that each of them is what is found', async () => {
    expect(await findingsOf({})).toMatchObject({
      code: 0,
      findings: [],
      summary: {
        kind: 'receipt',
        booking: BOOKING,
        state: 'released',
        attempts: 2,
        cost: [{ currency: 'USD', cents: '104' }],
        logs: [{ attempt: 2, ended: 'complete', bytes: '3', sha256: sha256Hex('log') }],
      },
    });
  });

  test('a decision signed by a key that is not pinned is not a decision', async () => {
    const { code, findings } = await findingsOf({}, testSigner());
    expect(code).toBe(10);
    expect(findings.map((finding) => finding.problem).join()).toMatch(/unknown_key/);
  });

  test('a transition that does not exist is found by replaying', async () => {
    const story = await retrainStory(decider);
    const events = story.events.filter((event) => event.type !== 'booking.confirming');
    const result = verifyFile(Buffer.from(await receiptFile({ ...story, events }, signer)), roots);
    expect(result.code).toBe(10);
    expect(result.findings.map((finding) => finding.problem).join()).toMatch(/no transition from requesting/);
  });

  test('a booking that has not ended is incomplete', async () => {
    const story = await retrainStory(decider);
    const events = story.events.slice(0, -1);
    const result = verifyFile(Buffer.from(await receiptFile({ ...story, events }, signer)), roots);
    expect(result.code).toBe(11);
  });
});
