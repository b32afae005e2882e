import { expect, test } from 'vitest';
import { OperatingError } from '../../../../core/operating-error.ts';
import {
  httpErrorOf,
  isNotThere,
  isOver,
  providerErrorOf,
  RPC,
  unansweredError,
} from '../../../../providers/vertex/errors.ts';

const fault = (code: number | undefined, details: string, more: object = {}) =>
  Object.assign(new Error(`${code}: ${details}`), { code, details, ...more });

test.each([
  [
    RPC.resourceExhausted,
    'The following quota metrics exceed quota limits: aiplatform.googleapis.com/custom_model_training_nvidia_l4_gpus',
    'quota_exceeded',
    'none',
    'Quotas',
  ],
  [
    RPC.resourceExhausted,
    'Resources are insufficient in region: us-central1.',
    'no_capacity',
    'none',
    'another flavour',
  ],
  [
    RPC.resourceExhausted,
    "Quota exceeded for quota metric 'x' and limit 'Requests per minute per region'",
    'transient',
    'none',
    'per minute',
  ],
  [RPC.permissionDenied, "Permission 'aiplatform.customJobs.create' denied", 'auth', 'none', 'docs/vertex.md'],
  [RPC.permissionDenied, 'iam.serviceAccounts.actAs is missing', 'auth', 'none', 'serviceAccountUser'],
  [RPC.unauthenticated, 'invalid authentication credentials', 'auth', 'none', 'credentials'],
  [RPC.invalidArgument, 'Machine type is not supported', 'invalid', 'none', 'not supported'],
  [RPC.failedPrecondition, 'The network is not peered', 'invalid', 'none', 'peered'],
  [RPC.notFound, 'The network does not exist', 'invalid', 'none', 'does not exist'],
  [RPC.unavailable, 'Connection dropped', 'transient', 'unknown', 'dropped'],
  [RPC.deadlineExceeded, 'Deadline exceeded', 'transient', 'unknown', 'Deadline'],
  [RPC.internal, 'Failed to decode', 'transient', 'unknown', 'decode'],
  [RPC.cancelled, 'Cancelled on client', 'transient', 'unknown', 'Cancelled'],
  [RPC.aborted, 'aborted', 'transient', 'unknown', 'aborted'],
  [RPC.unknown, 'who knows', 'transient', 'unknown', 'who knows'],
  [undefined, 'socket hang up', 'transient', 'unknown', 'socket'],
] as const)('code %s (%s) of a call that changes something is told as it is', (code, details, told, effect, words) => {
  const error = providerErrorOf(fault(code, details), 'creating it', true);
  expect(error).toMatchObject({ code: told, effect, message: expect.stringContaining(words) });
  expect(error.message).toContain('creating it');
  // A call that only asked changed nothing, whatever became of it.
  expect(providerErrorOf(fault(code, details), 'asking', false).effect).toBe('none');
});

test('what the details say is handed on: the field that is wrong, and when to come again', () => {
  const violation = { fieldViolations: [{ field: 'custom_job.labels', description: 'no capitals' }] };
  const wrong = providerErrorOf(
    fault(RPC.invalidArgument, 'see details', { statusDetails: [violation] }),
    'creating it',
    true,
  );
  expect(wrong.message).toContain('custom_job.labels: no capitals');
  const slow = fault(RPC.resourceExhausted, 'x', {
    reason: 'RATE_LIMIT_EXCEEDED',
    statusDetails: [{ retryDelay: { seconds: '7', nanos: 500_000_000 } }],
  });
  expect(providerErrorOf(slow, 'creating it', true)).toMatchObject({
    code: 'transient',
    effect: 'none',
    retryAfterMs: 7_500,
  });
  const off = fault(RPC.permissionDenied, 'has not been used', { reason: 'SERVICE_DISABLED' });
  expect(providerErrorOf(off, 'listing', false).message).toContain('enable aiplatform.googleapis.com');
});

test('what is not there, and what is over, is known by its code', () => {
  expect(isNotThere(fault(RPC.notFound, 'x'))).toBe(true);
  expect(isOver(fault(RPC.failedPrecondition, 'x'))).toBe(true);
  expect(isOver(fault(RPC.invalidArgument, 'x'))).toBe(false);
  expect(providerErrorOf(fault(RPC.notFound, 'x'), 'looking', false).code).toBe('not_found');
});

test('replies of Storage and Logging are told by their status, in Google’s words', () => {
  const body = Buffer.from(JSON.stringify({ error: { message: 'the bucket is not yours' } }));
  expect(httpErrorOf(403, body, 'staging')).toMatchObject({
    code: 'auth',
    message: expect.stringContaining('the bucket is not yours'),
  });
  expect(httpErrorOf(404, Buffer.from('no bucket'), 'staging')).toMatchObject({
    code: 'invalid',
    message: expect.stringContaining('no bucket'),
  });
  expect(httpErrorOf(429, body, 'reading', '3')).toMatchObject({ code: 'transient', retryAfterMs: 3_000 });
  expect(httpErrorOf(503, body, 'reading')).toMatchObject({ code: 'transient', effect: 'none' });
  const away = new OperatingError('unreachable', 'safe', 'calling it');
  expect(unansweredError(away, 'reading')).toMatchObject({ code: 'transient', effect: 'none' });
});
