import { describe, expect, test } from 'vitest';
import { type ClaimedShare, requireClaimed } from '../../../../api/http/rooms/claimed-jobs.ts';
import { historyOf } from '../../../../api/http/rooms/recompute.ts';
import { buildHttpServer } from '../../../../api/http/server.ts';
import { FUNCTIONS } from '../../../../core/access.ts';
import { CLAIM_ENV } from '../../../../scoring/batch/handed-shard.ts';
import { fakeServices } from './fake-services.ts';

const CLAIM = 'jobs/1';

/** The share of one partition of two, cut in three. */
function share(index: number, change: object = {}, spec: object = {}): ClaimedShare {
  const booked = {
    workdir: 'code:1',
    run: 'merit recompute',
    envs: { [CLAIM_ENV]: CLAIM },
    array: { id: 'first', count: 6, index: index + 3 },
    ...spec,
  };
  const head = { share: { index, of: 3 } };
  const claimed = { share: { job: `job-${index}`, head }, booking: { requester: 'oidc:ann', spec: booked }, ...change };
  return claimed as unknown as ClaimedShare;
}
const held = (...shares: readonly ClaimedShare[]) => requireClaimed(CLAIM, 'oidc:ann', shares);

describe('the jobs of a merge', () => {
  test('are those that were booked for its claim, each with its own share, in any order', () => {
    expect(() => held(share(0), share(1), share(2))).not.toThrow();
    expect(() => held(share(2), share(0), share(1))).not.toThrow();
  });

  test.each<[string, ClaimedShare, string]>([
    ['there are none', share(1, { booking: undefined }), 'was not booked for the claim'],
    ['they were booked for none', share(1, {}, { envs: {} }), 'was not booked for the claim'],
    ['they were booked for another', share(1, {}, { envs: { [CLAIM_ENV]: 'jobs/2' } }), 'was not booked for the claim'],
    [
      'somebody else booked one',
      share(1, { booking: { ...share(1).booking, requester: 'oidc:bob' } }),
      'somebody else',
    ],
    ['one is no task of the array', share(1, {}, { array: undefined }), 'another array'],
    ['one is of another array', share(1, {}, { array: { id: 'x', count: 6, index: 4 } }), 'another array'],
    ['one has other code', share(1, {}, { workdir: 'code:2' }), 'ran something else'],
    ['one ran another line', share(1, {}, { run: 'cp forged' }), 'ran something else'],
    [
      'one left the share of the next',
      share(1, {}, { array: { id: 'first', count: 6, index: 5 } }),
      'share of another',
    ],
    ['one is of another partition', share(1, {}, { array: { id: 'first', count: 6, index: 1 } }), 'share of another'],
  ])('are refused by name where %s', (_, wrong, problem) => {
    expect(() => held(share(0), wrong, share(2))).toThrow(new RegExp(`name job-1, which .*${problem}`));
  });

  test('without code of its own, where anything could have run, are refused', () => {
    expect(() => held(share(0, {}, { workdir: null }))).toThrow('ran something else');
  });
});

test('a process merges one history at a time, and tells others to come back', async () => {
  let go = () => {};
  const first = new Promise<void>((resolve) => {
    go = resolve;
  });
  const db = { asTenant: () => first, asEngine: async () => undefined };
  const { mergeHistory } = historyOf({ db } as never);
  const caller = { identity: { tenant: 'acme', principal: 'oidc:ann' } } as never;
  const merge = () => mergeHistory(caller, 'board', { claim: CLAIM, partition: 0, jobs: ['job-0'] });
  const begun = merge();
  await expect(merge()).rejects.toMatchObject({ code: 'capacity', retry: 'safe' });
  go();
  await expect(begun).rejects.toThrow('which left no shard.panes');
  await expect(merge()).rejects.toThrow('which left no shard.panes');
});

test.each([
  ['claim', {}],
  ['merge', { claim: `jobs/${'0'.repeat(26)}`, partition: 0, jobs: ['x'] }],
  ['release', { claim: `jobs/${'0'.repeat(26)}` }],
])('who may report as some producers only may not %s a history, which is of all', async (verb, payload) => {
  const as = async (producers: 'any' | readonly string[]) => {
    const identify = async () => ({ principal: 'spiffe://x/evals', tenant: 'acme', functions: FUNCTIONS, producers });
    const app = buildHttpServer({ ...fakeServices().services, identify });
    const headers = { host: 'localhost' };
    const { statusCode } = await app.inject({ method: 'POST', url: `/v1/suites/s/rollout:${verb}`, headers, payload });
    await app.close();
    return statusCode;
  };
  expect(await as(['nightly'])).toBe(403);
  expect(await as('any')).not.toBe(403);
});
