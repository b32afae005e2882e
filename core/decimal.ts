/** An integer of `scale` decimals as text: 1500n, 3 → `1.5`; with `atLeast` digits kept: 1250n, 2, 2 → `12.50`. */
export function decimalText(value: bigint, scale: number, atLeast = 0): string {
  const sign = value < 0n ? '-' : '';
  const text = (value < 0n ? -value : value).toString().padStart(scale + 1, '0');
  const whole = text.slice(0, -scale);
  let fraction = text.slice(-scale);
  while (fraction.length > atLeast && fraction.endsWith('0')) fraction = fraction.slice(0, -1);
  return sign + (fraction === '' ? whole : `${whole}.${fraction}`);
}
