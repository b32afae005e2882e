import { currencyScale } from '../../core/currency.ts';
import { decimalText } from '../../core/decimal.ts';

/** 1500, 'gpu' → `1.5 gpu`. */
export function amountText(milli: number, resource: string): string {
  return `${decimalText(BigInt(milli), 3)} ${resource}`;
}

export function moneyText(minor: bigint, currency: string): string {
  const scale = currencyScale(currency);
  return `${scale === 0 ? String(minor) : decimalText(minor, scale, scale)} ${currency}`;
}
