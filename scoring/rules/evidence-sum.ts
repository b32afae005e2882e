import { addEvidence, type EvidenceSums, NO_EVIDENCE } from './evidence.ts';

/** Weights up to this are summed in doubles. */
export const MAX_SMALL_WEIGHT = 2 ** 12;
/** Sums of fewer products than this, each below 2^41, are below 2^53: exact. */
const MAX_SMALL_TERMS = 2 ** 12;
const DIGIT = 2 ** 14;
const HALF = 2 ** 20;

/**
 * Evidence that grows report by report, exact: w·S and w·S² of small weights are summed in doubles, digit by digit to the base 2^14, and become
 * BigInts only when those could overflow, or are read.
 * Source: docs/scoring.md, Promotion and demotion; sums of integers below 2^53 in doubles are exact (IEEE 754).
 */
export class EvidenceSum {
  #sums: EvidenceSums = NO_EVIDENCE;
  #terms = 0;
  #weight = 0;
  #beyond = 0;
  #low = 0;
  #high = 0;
  /** Of Σ w·S², by power of the base. */
  #p0 = 0;
  #p1 = 0;
  #p2 = 0;
  #p3 = 0;
  #p4 = 0;

  add(sums: EvidenceSums): void {
    this.#sums = addEvidence(this.#sums, sums);
  }

  /** A report of weight `w`, at most MAX_SMALL_WEIGHT, and S in [0, 10^12]. */
  addSmall(w: number, s: number, beyond: 0 | 1): void {
    if (this.#terms === MAX_SMALL_TERMS - 1) this.#settle();
    this.#terms++;
    this.#weight += w;
    this.#beyond += beyond;
    const high = Math.floor(s / HALF);
    this.#high += w * high;
    this.#low += w * (s - high * HALF);
    const top = Math.floor(s / (DIGIT * DIGIT));
    const rest = s - top * DIGIT * DIGIT;
    const mid = Math.floor(rest / DIGIT);
    const end = rest - mid * DIGIT;
    this.#p4 += w * top * top;
    this.#p3 += w * 2 * top * mid;
    this.#p2 += w * (2 * top * end + mid * mid);
    this.#p1 += w * 2 * mid * end;
    this.#p0 += w * end * end;
  }

  get sums(): EvidenceSums {
    this.#settle();
    return this.#sums;
  }

  #settle(): void {
    if (this.#terms === 0) return;
    const digits = [this.#p4, this.#p3, this.#p2, this.#p1, this.#p0];
    this.#sums = addEvidence(this.#sums, {
      n: this.#terms,
      weight: BigInt(this.#weight),
      sumWs: (BigInt(this.#high) << 20n) + BigInt(this.#low),
      sumWs2: digits.reduce((sum, digit) => (sum << 14n) + BigInt(digit), 0n),
      beyond: this.#beyond,
    });
    this.#terms = this.#weight = this.#beyond = this.#low = this.#high = 0;
    this.#p0 = this.#p1 = this.#p2 = this.#p3 = this.#p4 = 0;
  }
}
