import { expect, test } from 'vitest';
import { billingMonth } from '../../../../ledger/finops/billing-month.ts';
import { chargesOf, type Settlement } from '../../../../ledger/finops/charges.ts';
import { FOCUS_HEADER, focusRow } from '../../../../ledger/finops/focus.ts';
import { purposeOf, SpendSums } from '../../../../ledger/finops/report.ts';

const november = billingMonth('2026-11')!;
const settlement: Settlement = {
  bookingId: '01JB000000000000000000000A',
  attempt: 2,
  tenant: 'acme',
  division: 'vision',
  jobName: 'train, "big"',
  requester: 'user:ann',
  traceId: '0af7651916cd43dd8448eb211c80319c',
  provider: 'ray',
  pool: 'gpus-us-east',
  flavour: 'h100-spot',
  resource: 'gpu',
  spot: true,
  outcome: 'retry',
  reason: 'preempted',
  currency: 'USD',
  cents: 1250n,
  unitsMilli: 2000n,
  billedMs: 9_000_000n,
  centsPerUnitHour: 250n,
  endedAtMs: Date.parse('2026-11-02T12:00:00Z'),
  auditEventId: 'e'.repeat(32),
};

/** By RFC 4180. */
function cellsOf(line: string): string[] {
  return [...line.trimEnd().matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g)].map(
    (match) => match[1]?.replaceAll('""', '"') ?? match[2]!,
  );
}

function rowOf(over: Partial<Settlement> = {}): Record<string, string> {
  const of = { ...settlement, ...over };
  const cells = cellsOf(focusRow(of, chargesOf(of)[0]!, november));
  const names = cellsOf(FOCUS_HEADER);
  expect(cells).toHaveLength(names.length);
  return Object.fromEntries(names.map((name, i) => [name, cells[i]!]));
}

test('a row has every column that FOCUS 1.2 makes mandatory', () => {
  const mandatory = [
    ...['BilledCost', 'BillingAccountId', 'BillingAccountName', 'BillingCurrency', 'BillingPeriodEnd'],
    ...[
      'BillingPeriodStart',
      'ChargeCategory',
      'ChargeClass',
      'ChargeDescription',
      'ChargePeriodEnd',
      'ChargePeriodStart',
    ],
    ...['ContractedCost', 'EffectiveCost', 'InvoiceIssuerName', 'ListCost', 'PricingQuantity', 'PricingUnit'],
    ...['ProviderName', 'PublisherName', 'ServiceCategory', 'ServiceName'],
  ];
  expect(cellsOf(FOCUS_HEADER)).toEqual(expect.arrayContaining(mandatory));
});

test('a row says who is charged for what, when, and by which event of the trail', () => {
  expect(rowOf()).toMatchObject({
    BilledCost: '12.50',
    BillingAccountId: 'acme',
    BillingPeriodEnd: '2026-12-01T00:00:00.000Z',
    BillingPeriodStart: '2026-11-01T00:00:00.000Z',
    ChargeCategory: 'Usage',
    ChargeClass: '',
    ChargeDescription: 'train, "big", attempt 2, on gpus-us-east/h100-spot',
    ChargePeriodEnd: '2026-11-02T12:00:00.000Z',
    ChargePeriodStart: '2026-11-02T09:30:00.000Z',
    ConsumedQuantity: '5',
    ConsumedUnit: 'GPU-Hours',
    ListCost: '12.50',
    ListUnitPrice: '2.50',
    PricingCategory: 'Dynamic',
    PublisherName: 'ray',
    ResourceId: settlement.bookingId,
    SkuId: 'gpus-us-east/h100-spot',
    SkuPriceId: 'gpus-us-east/h100-spot@250USD',
    SubAccountId: 'vision',
    SubAccountName: 'vision',
    Tags: '{"merit/job":"train, \\"big\\"","merit/requester":"user:ann"}',
    x_MeritAttempt: '2',
    x_MeritAuditEventId: 'e'.repeat(32),
    x_MeritReason: 'preempted',
    x_MeritRoundingResidue: '0.00',
  });
});

test('the list cost is the product of price and quantity as they are printed, to the last digit', () => {
  const { ListUnitPrice, PricingQuantity, ListCost } = rowOf({ billedMs: 1_234_567n, unitsMilli: 1_500n, cents: 129n });
  expect(PricingQuantity).toBe('0.514402916667');
  const product = BigInt(ListUnitPrice!.replace('.', '')) * BigInt(PricingQuantity!.replace('.', ''));
  expect(BigInt(ListCost!.replace('.', '').padEnd(product.toString().length, '0'))).toBe(product);
  expect(ListCost).toBe('1.2860072916675');
});

test.each([
  ['released', 'finished', 'completed'],
  ['retry', 'preempted', 'preempted'],
  ['cancelled', 'preempted', 'preempted'],
  ['retry', 'provider_failed', 'failed'],
  ['failed', 'exit_code', 'failed'],
  ['cancelled', 'cancelled', 'stopped'],
  ['expired', 'lease_ended', 'stopped'],
] as const)('an attempt that ended as %s by %s counts as %s', (outcome, reason, purpose) => {
  expect(purposeOf({ outcome, reason })).toBe(purpose);
});

test('sums are kept apart by division, currency and purpose', () => {
  const sums = new SpendSums();
  sums.add(settlement);
  sums.add({ ...settlement, outcome: 'released', reason: 'finished', cents: 100n, spot: false });
  sums.add({ ...settlement, currency: 'EUR', cents: 7n });
  sums.add({ ...settlement, division: 'nlp', cents: 3n });
  expect(sums.get('vision', 'USD')).toEqual({
    division: 'vision',
    currency: 'USD',
    settlements: 2,
    settledCents: 1350n,
    byPurpose: { completed: 100n, preempted: 1250n, failed: 0n, stopped: 0n },
    spotCents: 1250n,
  });
  expect(sums.get('vision', 'EUR').settledCents).toBe(7n);
  expect(sums.get('nlp', 'EUR').settlements).toBe(0);
});

test.each(['2026-13', '2026-1', '26-11', '1969-12', '2026-11-01', ''])('%j is no month', (text) => {
  expect(billingMonth(text)).toBeUndefined();
});
