import { expect, test } from 'vitest';
import { s3Error } from '../../../platform/s3-errors.ts';

const fault = (name: string, status?: number, more: object = {}) =>
  Object.assign(new Error('said so'), {
    name,
    $metadata: status === undefined ? {} : { httpStatusCode: status },
    ...more,
  });

test.each([
  ['NoSuchBucket', 404, 'not-found', /make the bucket/],
  ['RequestTimeTooSkewed', 403, 'auth', /clock/],
  ['AccessDenied', 403, 'auth', /list, read, write and delete/],
  ['InvalidAccessKeyId', 403, 'auth', /access key/],
  ['ExpiredToken', 400, 'auth', /access key/],
  ['CredentialsProviderError', undefined, 'auth', /credentials/],
  ['SlowDown', 503, 'capacity', /fewer/],
  ['PreconditionFailed', 412, 'conflict', undefined],
  ['ConditionalRequestConflict', 409, 'conflict', undefined],
  ['BadDigest', 400, 'storage', /changed on their way/],
  ['InternalError', 500, 'storage', undefined],
  ['TimeoutError', undefined, 'timeout', undefined],
  ['ECONNREFUSED', undefined, 'unreachable', /endpoint/],
])('%s (%s) is %s, with what to do', (name, status, code, mend) => {
  const told = s3Error('storing a', fault(name, status));
  expect(told.code).toBe(code);
  if (mend === undefined) expect(told.mend).toBeUndefined();
  else expect(told.mend).toMatch(mend);
});

test('a bucket of another region says which', () => {
  const moved = fault('PermanentRedirect', 301, { $response: { headers: { 'x-amz-bucket-region': 'eu-central-1' } } });
  expect(s3Error('opening', moved).mend).toContain('eu-central-1');
});

test('nothing of a signed request is told', () => {
  const signed = fault('AccessDenied', 403, { $response: { headers: { authorization: 'AWS4-HMAC AKIASECRET' } } });
  const told = s3Error('storing a', signed);
  expect(JSON.stringify([told.message, told.cause, told.mend])).not.toContain('AKIA');
});
