import { expect, test } from 'vitest';
import type { AuditEvent } from '../../../../core/audit-event.ts';
import { canonicalBytes, type Json, sha256Hex } from '../../../../core/canonical.ts';
import { check } from '../../../../core/schema.ts';
import { HumanAction } from '../../../../peers/kernel/wire.ts';
import { humanActionOf } from '../../../../scheduler/notices/human-action.ts';

const event: AuditEvent = {
  v: 1,
  id: '01jd0000000000000000000000',
  tenant: 'acme',
  subject: 'pool/gpus',
  n: 3,
  type: 'pool.applied',
  at: '2026-11-02T00:00:00.000Z',
  actor: 'oidc:ann',
  trace: '0af7651916cd43dd8448eb211c80319c',
  data: {},
};

test.each(['merit', 'merit/ledger', 'spiffe://example.org/kernel', 'test', 'oidc', ''])('%j is no person', (actor) => {
  expect(humanActionOf({ ...event, actor })).toBeUndefined();
});

test.each(['oidc:ann', 'token:local'])(
  'what %s did is recorded by the hash of the event’s bytes: another event in its place is another record',
  (actor) => {
    const of = { ...event, actor };
    const action = humanActionOf(of);
    expect(check(HumanAction, action)).toEqual([]);
    expect(action).toMatchObject({
      event: event.id,
      person: actor,
      action: 'pool.applied',
      subject: 'pool/gpus',
      n: 3,
    });
    expect(action?.id).toBe(sha256Hex(canonicalBytes(of as unknown as Json)));
    // As after a restore: the same place in the same story.
    expect(humanActionOf({ ...of, at: '2026-11-03T00:00:00.000Z' })?.id).not.toBe(action?.id);
  },
);

test('it says which proposal it was about, whose key signed, and the reason, where there are any', () => {
  expect(humanActionOf(event)).toMatchObject({ proposal: null, signer: null, reason: null });
  expect(
    humanActionOf({ ...event, data: { proposal: 'b-3', person: 'ann', reason: { code: 'c', text: 'no', mend: 'm' } } }),
  ).toMatchObject({ proposal: 'b-3', signer: 'ann', reason: 'no' });
  expect(humanActionOf({ ...event, data: { reason: 'leaked key' } })).toMatchObject({ reason: 'leaked key' });
});
