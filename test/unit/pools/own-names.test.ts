import { expect, test } from 'vitest';
import { quotaNodes } from '../../../pools/account-limits.ts';
import { documentRefusals } from '../../../pools/document-checks.ts';
import { parseDocuments } from '../../../pools/documents.ts';

const flavour = (name: string) => ({
  name,
  resource: 'gpu',
  capacity: 4,
  price: { currency: 'USD', perUnitHour: '1.00' },
});

test('constructor is a name as any other, of a flavour and of a division', () => {
  const documents = parseDocuments([
    {
      apiVersion: 'merit/v1',
      kind: 'Pool',
      name: 'p',
      provider: { kind: 'local' },
      flavours: [flavour('od'), flavour('constructor')],
      quotas: { lab: { od: 4 } },
    },
  ]);
  expect(documentRefusals(documents)).toEqual([]);
  const nodes = quotaNodes(documents, ['lab', 'constructor']);
  expect(nodes.map(({ name, quotas }) => [name, quotas.map((quota) => [quota.flavour, quota.nominal])])).toEqual([
    [
      'lab',
      [
        ['od', 4000n],
        ['constructor', 0n],
      ],
    ],
    ['constructor', []],
  ]);
});
