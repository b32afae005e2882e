import { describe, expect, test } from 'vitest';
import { RefusedInput } from '../../../../core/refusal.ts';
import { checkRayConfig, type RayConfig } from '../../../../providers/ray/config.ts';

const GOOD: RayConfig = { address: 'http://ray.example:8265', tokenFile: '/run/ray/token' };

function fieldsRefused(config: object): readonly string[] {
  try {
    checkRayConfig(config as RayConfig);
    return [];
  } catch (error) {
    expect(error).toBeInstanceOf(RefusedInput);
    return (error as RefusedInput).refusals.map((refusal) => refusal.field);
  }
}

describe('the configuration of a Ray provider', () => {
  test.each([
    ['address and token file', GOOD],
    ['an open cluster that is named as such', { address: 'https://ray.example/x', allowUnauthenticated: true }],
    [
      'several flavours with a resource each',
      {
        ...GOOD,
        flavours: [
          { name: 'a', resource: 'pool_a' },
          { name: 'b', resource: 'pool_b' },
        ],
      },
    ],
    ['prices', { ...GOOD, flavours: [{ name: 'a', centsPerUnitHour: 250, currency: 'EUR', spot: true }] }],
  ])('may give %s', (_what, config) => {
    expect(fieldsRefused(config)).toEqual([]);
  });

  test.each([
    ['no address', { tokenFile: '/t' }, ['address']],
    ['another protocol', { ...GOOD, address: 'ray://x:10001' }, ['address']],
    ['a password in the address', { ...GOOD, address: 'http://u:p@x:1' }, ['address']],
    ['a query in the address', { ...GOOD, address: 'http://x:1/?a=b' }, ['address']],
    ['neither token nor the name of the risk (G36)', { address: 'http://x:1' }, ['tokenFile']],
    ['a relative token file', { ...GOOD, tokenFile: 'token' }, ['tokenFile']],
    ['a token in two places', { ...GOOD, tokenSecret: { awsSecret: 'ray' } }, ['tokenSecret']],
    ['a secret without a name', { address: 'http://x:1', tokenSecret: { region: 'r' } }, ['tokenSecret.awsSecret']],
    ['a secret that is a text', { address: 'http://x:1', tokenSecret: 'hunter2' }, ['tokenSecret.awsSecret']],
    [
      'a service of secrets over plain http',
      { address: 'http://x:1', tokenSecret: { awsSecret: 'ray', endpoint: 'http://secrets.example' } },
      ['tokenSecret.endpoint'],
    ],
    ['a time-out of 0', { ...GOOD, timeoutMs: 0 }, ['timeoutMs']],
    ['half a second of grace', { ...GOOD, stopGraceSeconds: 0.5 }, ['stopGraceSeconds']],
    ['no flavour', { ...GOOD, flavours: [] }, ['flavours']],
    [
      'a flavour twice',
      {
        ...GOOD,
        flavours: [
          { name: 'a', resource: 'r' },
          { name: 'a', resource: 's' },
        ],
      },
      ['flavours'],
    ],
    [
      'two flavours on the same nodes',
      { ...GOOD, flavours: [{ name: 'a' }, { name: 'b', resource: 's' }] },
      ['flavours'],
    ],
    ['part of a cent', { ...GOOD, flavours: [{ name: 'a', centsPerUnitHour: 1.5 }] }, ['flavours/0/centsPerUnitHour']],
    ['a flavour that is no name', { ...GOOD, flavours: [{ name: 'A B' }] }, ['flavours/0/name']],
    ['several mistakes', { address: 'x', timeoutMs: -1 }, ['address', 'tokenFile', 'timeoutMs']],
  ])('with %s is refused, all mistakes at once', (_what, config, fields) => {
    expect(fieldsRefused(config)).toEqual(fields);
  });
});
