import { expect, test } from 'vitest';
import type { AuditEvent } from '../../../../core/audit-event.ts';
import { explanationOf } from '../../../../scheduler/notices/notice-of.ts';

const eventOf = (subject: string, type: string, data: AuditEvent['data']): AuditEvent => ({
  v: 1,
  id: '01jd0000000000000000000000',
  tenant: 'acme',
  subject,
  n: 1,
  type,
  at: '2026-11-02T00:00:00.000Z',
  actor: 'engine',
  trace: '0af7651916cd43dd8448eb211c80319c',
  data,
});

test.each([
  ['promote', { incumbentBefore: 'a' }, 'b took the seat of suite s, where a was, by what was reported up to 7'],
  ['demote', {}, 'b left the seat of suite s, by what was reported up to 7'],
  ['review', { decision: 'h' }, 'decision h on b of suite s stands, and late data would have made it another'],
] as const)('decision.%s is explained as what it is', (action, data, text) => {
  const event = eventOf('suite/s', `decision.${action}`, { model: 'b', tick: '7', ...data });
  expect(explanationOf(event)).toMatchObject({ about: { kind: 'promotion', id: 's' }, text });
});

test.each([
  ['created', {}, 'allocation j is created'],
  ['awaiting_signatures', {}, 'allocation j is awaiting signatures'],
  ['rejected', { reason: { code: 'c', text: 'no', mend: 'm' } }, 'allocation j is rejected: no'],
  ['extension_asked', {}, 'allocation j: extension asked'],
  ['signing_approved', {}, 'allocation j: signing approved'],
] as const)('booking.%s is told as a state only where it is one', (step, data, text) => {
  expect(explanationOf(eventOf('booking/j', `booking.${step}`, data))?.text).toBe(text);
});

test.each([
  ['suite/s', 'suite.applied'],
  ['model/m', 'decision.promote'],
  ['pool/p', 'booking.applied'],
])('of %s %s nothing is explained', (subject, type) => {
  expect(explanationOf(eventOf(subject, type, {}))).toBeUndefined();
});
