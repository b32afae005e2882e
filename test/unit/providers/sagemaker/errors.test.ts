import { expect, test } from 'vitest';
import { isNotThere, isOver, providerErrorOf } from '../../../../providers/sagemaker/errors.ts';

const fault = (name: string, message: string, status?: number) =>
  Object.assign(new Error(message), {
    name,
    ...(status === undefined
      ? {}
      : { $fault: status < 500 ? 'client' : 'server', $metadata: { httpStatusCode: status } }),
  });

test.each([
  ['ResourceLimitExceeded', 'is 0 Instances', 400, 'quota_exceeded', 'none', 'Service Quotas'],
  ['CapacityError', 'Unable to provision', 400, 'no_capacity', 'none', 'another flavour'],
  ['InsufficientCapacityException', 'none', 400, 'no_capacity', 'none', 'another flavour'],
  ['ThrottlingException', 'Rate exceeded', 400, 'transient', 'none', 'Rate exceeded'],
  ['TooManyRequestsException', 'slow', 429, 'transient', 'none', 'slow'],
  ['AccessDeniedException', 'perform: sagemaker:ListTrainingJobs', 400, 'auth', 'none', 'docs/sagemaker.md'],
  ['UnrecognizedClientException', 'token is invalid', 400, 'auth', 'none', 'check the credentials'],
  ['ExpiredTokenException', 'is expired', 403, 'auth', 'none', 'renew'],
  ['CredentialsProviderError', 'Could not load', undefined, 'auth', 'none', 'check the credentials'],
  ['ValidationException', 'Could not assume role arn:x', 400, 'auth', 'none', 'iam:PassRole'],
  ['ValidationException', '1 validation error detected', 400, 'invalid', 'none', 'validation error'],
  ['InternalFailure', 'oops', 500, 'transient', 'unknown', 'oops'],
  ['ServiceUnavailable', 'oops', 503, 'transient', 'unknown', 'oops'],
  ['TimeoutError', 'socket', undefined, 'transient', 'unknown', 'socket'],
  ['AbortError', 'Request aborted', undefined, 'transient', 'unknown', 'aborted'],
  ['SyntaxError', 'Unexpected end of JSON', 200, 'transient', 'unknown', 'JSON'],
])('%s (%s) of a call that changes something is told as it is', (name, message, status, code, effect, words) => {
  const error = providerErrorOf(fault(name, message, status), 'creating it', true);
  expect(error).toMatchObject({ code, effect, message: expect.stringContaining(words) });
  expect(error.message).toContain('creating it');
  // A call that only asked changed nothing, whatever became of it.
  expect(providerErrorOf(fault(name, message, status), 'asking', false).effect).toBe('none');
});

test('what is not there, and what is over, is known by its words alone: other mistakes are none of these', () => {
  expect(isNotThere(fault('ValidationException', 'Requested resource not found.', 400))).toBe(true);
  expect(isNotThere(fault('ResourceNotFound', 'x', 400))).toBe(true);
  expect(isNotThere(fault('ValidationException', 'No S3 objects found: requested resource not found', 400))).toBe(
    false,
  );
  expect(
    isOver(fault('ValidationException', 'The request was rejected because the training job is in status Failed.', 400)),
  ).toBe(true);
  expect(
    isOver(
      fault('AccessDeniedException', 'The request was rejected because the training job is in status Failed.', 400),
    ),
  ).toBe(false);
});
