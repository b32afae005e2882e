/**
 * Natural logarithm by additions, multiplications, divisions and bit operations only, so that every engine and language
 * that follows it gives the same bits; Math.log may differ between engines. Error < 1 ulp.
 * Source: FreeBSD msun e_log.c (fdlibm), "Copyright (C) 1993 by Sun Microsystems, Inc. All rights reserved. Developed at
 * SunSoft, a Sun Microsystems, Inc. business. Permission to use, copy, modify, and distribute this software is freely
 * granted, provided that this notice is preserved."
 */

const LN2_HI = 0.6931471803691238;
const LN2_LO = 1.9082149292705877e-10;
const TWO_54 = 18014398509481984;
const LG1 = 0.6666666666666735;
const LG2 = 0.3999999999940942;
const LG3 = 0.2857142874366239;
const LG4 = 0.22222198432149784;
const LG5 = 0.1818357216161805;
const LG6 = 0.15313837699209373;
const LG7 = 0.14798198605116586;

const view = new DataView(new ArrayBuffer(8));

function highWord(x: number): number {
  view.setFloat64(0, x);
  return view.getInt32(0);
}

function withHighWord(x: number, high: number): number {
  view.setFloat64(0, x);
  view.setInt32(0, high);
  return view.getFloat64(0);
}

/** ln x. ln 0 = −Infinity; NaN below 0 and for NaN; ln Infinity = Infinity. */
export function ln(given: number): number {
  if (Number.isNaN(given) || given < 0) return Number.NaN;
  if (given === 0) return Number.NEGATIVE_INFINITY;
  if (given === Number.POSITIVE_INFINITY) return given;
  let x = given;
  let k = 0;
  if (highWord(x) < 0x00100000) {
    // Subnormal: scale up first.
    k -= 54;
    x *= TWO_54;
  }
  let hx = highWord(x);
  k += (hx >> 20) - 1023;
  hx &= 0x000fffff;
  // Split so that 1 + f lies in [√2/2, √2).
  const i = (hx + 0x95f64) & 0x100000;
  x = withHighWord(x, hx | (i ^ 0x3ff00000));
  k += i >> 20;
  return reduced(x - 1, k, hx);
}

/** ln(2^k · (1 + f)), f in [√2/2 − 1, √2 − 1). */
function reduced(f: number, k: number, hx: number): number {
  const hi = k * LN2_HI;
  const lo = k * LN2_LO;
  if ((0x000fffff & (2 + hx)) < 3) {
    // |f| < 2^-20: a short series is enough.
    if (f === 0) return k === 0 ? 0 : hi + lo;
    const r = f * f * (0.5 - 0.3333333333333333 * f);
    return k === 0 ? f - r : hi - (r - lo - f);
  }
  const s = f / (2 + f);
  const z = s * s;
  const w = z * z;
  const t1 = w * (LG2 + w * (LG4 + w * LG6));
  const t2 = z * (LG1 + w * (LG3 + w * (LG5 + w * LG7)));
  const r = t2 + t1;
  if (((hx - 0x6147a) | (0x6b851 - hx)) > 0) {
    const half = 0.5 * f * f;
    return k === 0 ? f - (half - s * (half + r)) : hi - (half - (s * (half + r) + lo) - f);
  }
  return k === 0 ? f - s * (f - r) : hi - (s * (f - r) - lo - f);
}
