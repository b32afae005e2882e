const SUFFIXES: Readonly<Record<string, readonly [bigint, bigint]>> = {
  n: [1n, 1_000_000_000n],
  u: [1n, 1_000_000n],
  m: [1n, 1_000n],
  '': [1n, 1n],
  k: [1_000n, 1n],
  M: [1_000n ** 2n, 1n],
  G: [1_000n ** 3n, 1n],
  T: [1_000n ** 4n, 1n],
  P: [1_000n ** 5n, 1n],
  E: [1_000n ** 6n, 1n],
  Ki: [1_024n, 1n],
  Mi: [1_024n ** 2n, 1n],
  Gi: [1_024n ** 3n, 1n],
  Ti: [1_024n ** 4n, 1n],
  Pi: [1_024n ** 5n, 1n],
  Ei: [1_024n ** 6n, 1n],
};
const FORM = /^(\d+)(?:\.(\d*))?(?:[eE]([+-]?\d{1,2})|([numkMGTPE]|[KMGTPE]i)?)$/;

/** An amount as Kubernetes writes it (`4`, `500m`, `1.5Gi`, `2e3`), in thousandths, rounded down; 0 where it is none. */
export function milliOf(quantity: string | number | undefined): bigint {
  const match = FORM.exec(String(quantity ?? ''));
  if (match === null) return 0n;
  const [, whole = '0', fraction = '', exponent = '0', suffix = ''] = match;
  const [times, per] = SUFFIXES[suffix] ?? [1n, 1n];
  const power = BigInt(exponent);
  const [up, down] = power >= 0n ? [10n ** power, 1n] : [1n, 10n ** -power];
  return (BigInt(whole + fraction) * times * up * 1000n) / (per * down * 10n ** BigInt(fraction.length));
}
