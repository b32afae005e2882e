import { expect, test } from 'vitest';
import { spiffeRefusal } from '../../../platform/spiffe.ts';

test.each(['spiffe://merit.local/server', 'spiffe://a/b/c', 'spiffe://td_1-2.x/ns/default/sa/eval-Engine_1.2'])(
  '%s is a service',
  (id) => {
    expect(spiffeRefusal('id', id)).toBeUndefined();
  },
);

test.each(['spiffe://td/*', 'spiffe://*/x', '*'])('%s: wildcards are refused as such', (id) => {
  expect(spiffeRefusal('id', id)).toMatchObject({ code: 'no_wildcards', field: 'id' });
});

test.each([
  'spiffe://TD/x',
  'spiffe://td:8443/x',
  'spiffe://td/x?y',
  'spiffe://td/x#y',
  'spiffe://td/../x',
  'spiffe://td/x/..',
  'spiffe://td/./x',
  'spiffe://td//x',
  'spiffe://td/x/',
  'spiffe://td/',
  'spiffe://td',
  'spiffe:///x',
  'spiffe://u@td/x',
  'spiffe://td/%2e',
  'https://td/x',
  'SPIFFE://td/x',
  ' spiffe://td/x',
  'spiffe://td/x\n',
  `spiffe://td/${'x'.repeat(2048)}`,
])('%j is refused', (id) => {
  expect(spiffeRefusal('id', id)).toMatchObject({ code: 'spiffe_id' });
});
