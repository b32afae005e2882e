import { decimalText } from '../../core/decimal.ts';
import { type Charge, halfEven, type Settlement } from './charges.ts';

/**
 * Charges as FOCUS 1.2 (FinOps Open Cost and Usage Specification, focus.finops.org): the tenant is the billing account, a division a sub account, a
 * job the resource, the pool's flavour what is priced. Every mandatory column is there, and of the conditional ones those whose condition holds:
 * there are no commitments, capacity reservations, negotiated prices nor second currencies here. RFC 4180, UTF-8, a line feed after each row.
 */
export interface BillingMonth {
  readonly startMs: number;
  readonly endMs: number;
}

/** A pool whose currency has no cents is refused where it is declared. */
const MONEY_SCALE = 2;
/** Of GPU-hours: a millisecond of a thousandth is 2.8 × 10⁻¹⁰. */
const QUANTITY_SCALE = 12;
/** In cents. */
const ONE = 100n;
const MS_MILLI_PER_HOUR = 3_600_000n * 1000n;

type Cell = string | null;
type Column = readonly [name: string, cell: (of: Settlement, charge: Charge, month: BillingMonth) => Cell];

const COLUMNS: readonly Column[] = [
  ['BilledCost', (_of, { cents }) => money(cents)],
  ['BillingAccountId', ({ tenant }) => tenant],
  ['BillingAccountName', ({ tenant }) => tenant],
  ['BillingCurrency', ({ currency }) => currency],
  ['BillingPeriodEnd', (_of, _charge, { endMs }) => time(endMs)],
  ['BillingPeriodStart', (_of, _charge, { startMs }) => time(startMs)],
  ['ChargeCategory', () => 'Usage'],
  ['ChargeClass', () => null],
  ['ChargeDescription', description],
  ['ChargeFrequency', () => 'Usage-Based'],
  ['ChargePeriodEnd', (_of, { toMs }) => time(toMs)],
  ['ChargePeriodStart', (_of, { fromMs }) => time(fromMs)],
  ['ConsumedQuantity', quantity],
  ['ConsumedUnit', unit],
  ['ContractedCost', (_of, { cents }) => money(cents)],
  ['EffectiveCost', (_of, { cents }) => money(cents)],
  ['InvoiceIssuerName', ({ tenant }) => tenant],
  ['ListCost', listCost],
  ['ListUnitPrice', (of) => money(isMoney(of) ? ONE : of.centsPerUnitHour)],
  ['PricingCategory', ({ spot }) => (spot ? 'Dynamic' : 'Standard')],
  ['PricingQuantity', quantity],
  ['PricingUnit', unit],
  ['ProviderName', () => 'Merit'],
  ['PublisherName', ({ provider }) => provider],
  ['ResourceId', ({ bookingId }) => bookingId],
  ['ResourceName', ({ jobName }) => jobName],
  ['ResourceType', (of) => (isMoney(of) ? 'Money' : 'Job')],
  ['ServiceCategory', () => 'AI and Machine Learning'],
  ['ServiceName', ({ pool }) => pool],
  ['ServiceSubcategory', () => 'Machine Learning'],
  ['SkuId', sku],
  ['SkuMeter', (of) => (isMoney(of) ? 'Money' : `${of.resource.toUpperCase()} time`)],
  ['SkuPriceDetails', () => null],
  ['SkuPriceId', (of) => `${sku(of)}@${of.centsPerUnitHour}${of.currency}`],
  ['SubAccountId', ({ division }) => division],
  ['SubAccountName', ({ division }) => division],
  ['Tags', (of) => JSON.stringify({ 'merit/job': of.jobName, 'merit/requester': of.requester })],
  ['x_MeritAttempt', ({ attempt }) => String(attempt)],
  ['x_MeritAuditEventId', ({ auditEventId }) => auditEventId],
  ['x_MeritOutcome', ({ outcome }) => outcome],
  ['x_MeritReason', ({ reason }) => reason],
  ['x_MeritRoundingResidue', (_of, { residueCents }) => money(residueCents)],
  ['x_MeritTraceId', ({ traceId }) => traceId],
];

export const FOCUS_HEADER = `${COLUMNS.map(([name]) => name).join(',')}\n`;

export function focusRow(of: Settlement, charge: Charge, month: BillingMonth): string {
  return `${COLUMNS.map(([, cell]) => field(cell(of, charge, month))).join(',')}\n`;
}

/** An empty field is null; RFC 4180 quotes what holds a comma, a quote or a line break. */
function field(cell: Cell): string {
  if (cell === null) return '';
  return /[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell;
}

/** Allocated without a job: what is priced is the money itself, each unit of its currency at one. */
function isMoney({ resource }: Settlement): boolean {
  return resource === 'money';
}

function description(of: Settlement): string {
  if (isMoney(of)) return `${of.jobName}, money`;
  return `${of.jobName}, attempt ${of.attempt}, on ${of.pool}/${of.flavour}`;
}

function unit(of: Settlement): string {
  return isMoney(of) ? of.currency : `${of.resource.toUpperCase()}-Hours`;
}

function sku({ pool, flavour }: Settlement): string {
  return `${pool}/${flavour}`;
}

function time(ms: number): string {
  return new Date(ms).toISOString();
}

function money(cents: bigint): string {
  return decimalText(cents, MONEY_SCALE, MONEY_SCALE);
}

/** With `QUANTITY_SCALE` decimals. */
function unitHours({ unitsMilli }: Settlement, { fromMs, toMs }: Charge): bigint {
  return halfEven(unitsMilli * BigInt(toMs - fromMs) * 10n ** BigInt(QUANTITY_SCALE), MS_MILLI_PER_HOUR);
}

function quantity(of: Settlement, charge: Charge): string {
  return isMoney(of) ? money(charge.cents) : decimalText(unitHours(of, charge), QUANTITY_SCALE);
}

/** The product of the price and the quantity as they are printed, to the last digit. */
function listCost(of: Settlement, charge: Charge): string {
  if (isMoney(of)) return money(charge.cents);
  return decimalText(unitHours(of, charge) * of.centsPerUnitHour, QUANTITY_SCALE + MONEY_SCALE, MONEY_SCALE);
}
