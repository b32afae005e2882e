import { expect, test } from 'vitest';
import { OperatingError } from '../../../../core/operating-error.ts';
import { connectionError, faultsIn, isOver, refusalError } from '../../../../providers/slurm/errors.ts';

const refused = (status: number, number: number | undefined, error: string) => ({
  status,
  faults: number === undefined ? [] : [{ error_code: number, error }],
  text: error,
  retryAfterMs: undefined,
});

/** The words are those of slurm_strerror of 22.05. */
test.each([
  [400, 2000, 'Invalid partition name specified', 'invalid', 'none', 'sinfo'],
  [400, 2014, 'Requested node configuration is not available', 'invalid', 'none', 'less on each node'],
  [400, 2029, 'Invalid feature specification', 'invalid', 'none', 'features'],
  [400, 2045, 'Invalid account or account/partition combination specified', 'invalid', 'none', 'sacctmgr'],
  [400, 2066, 'Invalid qos specification', 'invalid', 'none', 'sacctmgr'],
  [400, 2053, 'Requested reservation is invalid', 'invalid', 'none', 'scontrol show reservation'],
  [400, 9001, 'Failure during parsing', 'invalid', 'none', 'parsing'],
  [500, 2050, 'Job violates accounting/QOS policy', 'quota_exceeded', 'none', 'limits'],
  [500, 2074, 'breached requested QOS usage threshold', 'quota_exceeded', 'none', 'threshold'],
  [500, 2002, 'Access/permission denied', 'auth', 'none', 'token'],
  [500, 1007, 'Protocol authentication error', 'auth', 'none', 'munge'],
  [500, 2007, 'Unable to create job record, try again', 'transient', 'none', 'try again'],
  [500, 2101, 'Partition in DOWN state', 'transient', 'none', 'DOWN'],
  [500, 1800, 'Unable to contact slurm controller (connect failure)', 'transient', 'unknown', 'contact'],
  [500, 1802, 'Unable to contact slurm controller (receive failure)', 'transient', 'unknown', 'contact'],
  [500, 5004, 'Socket timed out on send/recv operation', 'transient', 'unknown', 'timed out'],
  [401, undefined, 'Authentication failure', 'auth', 'none', 'tokenFile'],
  [404, undefined, 'Unable find requested URL.', 'invalid', 'none', 'openapi/v0.0.38'],
  [429, undefined, 'slow', 'transient', 'none', 'slow'],
  [502, undefined, 'bad gateway', 'transient', 'unknown', 'gateway'],
])('%s with %s (%s) to a call that changes something is told as it is', (status, number, words, code, effect, told) => {
  const error = refusalError(refused(status, number, words), 'submitting m-x-1', true);
  expect(error).toMatchObject({ code, effect, message: expect.stringContaining(told) });
  expect(error.message).toContain(words);
  expect(error.message).toContain('submitting m-x-1');
  // A call that only asked changed nothing, whatever became of it.
  expect(refusalError(refused(status, number, words), 'asking', false).effect).toBe('none');
});

test('a call that never reached slurmrestd has no effect, one without a reply may have had one', () => {
  const unsent = [
    new OperatingError('unreachable', 'safe', 'calling'),
    new OperatingError('unreachable', 'look-first', 'calling', {
      cause: Object.assign(new Error('x'), { code: 'ENOENT' }),
    }),
  ];
  for (const error of unsent)
    expect(connectionError(error, 'submitting', true)).toMatchObject({ code: 'transient', effect: 'none' });
  for (const code of ['unreachable', 'timeout', 'aborted', 'bad-reply'] as const) {
    const error = new OperatingError(code, 'look-first', 'calling');
    expect(connectionError(error, 'submitting', true)).toMatchObject({ code: 'transient', effect: 'unknown' });
    expect(connectionError(error, 'listing', false).effect).toBe('none');
  }
  expect(connectionError(new OperatingError('auth', 'safe', 'calling'), 'submitting', true).code).toBe('auth');
});

test('what is over is known by its numbers alone', () => {
  for (const number of [2017, 2021, 2084]) expect(isOver([undefined, number])).toBe(true);
  expect(isOver([2002])).toBe(false);
  expect(isOver([])).toBe(false);
});

test('errors of a reply that are none are left out', () => {
  expect(faultsIn({ errors: [null, 7, 'x', { error_code: 2002 }] })).toEqual([{ error_code: 2002 }]);
  for (const body of [undefined, null, 'x', {}, { errors: null }]) expect(faultsIn(body)).toEqual([]);
});
