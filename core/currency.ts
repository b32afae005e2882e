import { type Refusal, refuse } from './refusal.ts';

/** Currencies whose minor unit is not 1/100. Source: ISO 4217, list one (2024-06). */
const SCALES: ReadonlyMap<string, number> = new Map([
  ...[
    'BIF',
    'CLP',
    'DJF',
    'GNF',
    'ISK',
    'JPY',
    'KMF',
    'KRW',
    'PYG',
    'RWF',
    'UGX',
    'UYI',
    'VND',
    'VUV',
    'XAF',
    'XOF',
    'XPF',
  ].map((code) => [code, 0] as const),
  ...['BHD', 'IQD', 'JOD', 'KWD', 'LYD', 'OMR', 'TND'].map((code) => [code, 3] as const),
  ...['CLF', 'UYW'].map((code) => [code, 4] as const),
]);

/** An amount as text, before its currency says how many decimals it has. */
export const AMOUNT = { maxLength: 24, pattern: '^(0|[1-9][0-9]{0,12})(\\.[0-9]{1,4})?$' } as const;
const AMOUNT_TEXT = new RegExp(AMOUNT.pattern);

export function isAmount(text: string): boolean {
  return text.length <= AMOUNT.maxLength && AMOUNT_TEXT.test(text);
}

/** Decimals of a currency. */
export function currencyScale(currency: string): number {
  return SCALES.get(currency) ?? 2;
}

/** `12.50` USD → 1250n; refused where it does not have the currency's decimals: nothing is rounded. */
export function minorUnits(field: string, amount: string, currency: string): bigint | Refusal {
  const [whole = '', fraction = ''] = amount.split('.');
  const scale = currencyScale(currency);
  if (fraction.length === scale) return BigInt(whole + fraction);
  const mend = `write ${scale === 0 ? '12' : `12.${'0'.repeat(scale)}`}`;
  return refuse('scale', field, `must have exactly ${scale} decimals in ${currency}`, mend);
}
