/**
 * Dominant shares, compared and never rounded: borrowed ÷ lendable ÷ weight, by integer cross-multiplication.
 */
export interface Share {
  /** Milli-units borrowed of the dominant resource; 0: it does not borrow. */
  readonly borrowed: number;
  readonly lendable: number;
  readonly weightMilli: number;
}

export const NO_SHARE: Share = { borrowed: 0, lendable: 1, weightMilli: 1000 };

export function isZeroShare(share: Share): boolean {
  return share.borrowed === 0;
}

/** Borrowing with weight 0, or of what nobody has to lend. */
function isInfinite(share: Share): boolean {
  return share.borrowed > 0 && (share.weightMilli === 0 || share.lendable === 0);
}

/** a/b against c/d for safe integers ≥ 0; a denominator 0 is the larger. */
export function compareRatios(a: number, b: number, c: number, d: number): number {
  if (b === 0 || d === 0) return Number(b === 0 && a > 0) - Number(d === 0 && c > 0);
  const left = a * d;
  const right = c * b;
  // Both exact below 2^53: floating products that large are told apart by bigint.
  if (left <= Number.MAX_SAFE_INTEGER && right <= Number.MAX_SAFE_INTEGER) return Math.sign(left - right);
  const exactLeft = BigInt(a) * BigInt(d);
  const exactRight = BigInt(c) * BigInt(b);
  return exactLeft < exactRight ? -1 : exactLeft > exactRight ? 1 : 0;
}

/** Negative: `a` has less than its due compared with `b`. Of two infinite ones the one that borrows more is the larger. */
export function compareShares(a: Share, b: Share): number {
  const infinite = Number(isInfinite(a)) - Number(isInfinite(b));
  if (infinite !== 0) return infinite;
  if (isInfinite(a)) return compareRatios(a.borrowed, a.lendable, b.borrowed, b.lendable);
  if (a.borrowed === 0 || b.borrowed === 0) return Math.sign(a.borrowed - b.borrowed);
  const left = a.borrowed * b.lendable * b.weightMilli;
  const right = b.borrowed * a.lendable * a.weightMilli;
  if (left <= Number.MAX_SAFE_INTEGER && right <= Number.MAX_SAFE_INTEGER) return Math.sign(left - right);
  const exactLeft = BigInt(a.borrowed) * BigInt(b.lendable) * BigInt(b.weightMilli);
  const exactRight = BigInt(b.borrowed) * BigInt(a.lendable) * BigInt(a.weightMilli);
  return exactLeft < exactRight ? -1 : exactLeft > exactRight ? 1 : 0;
}
