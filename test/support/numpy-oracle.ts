/** Relative, against numpy's and scipy's floating-point sums; absolute below a thousandth. */
const TOLERANCE = 1e-9;

export interface Comparison {
  /** What differs, as `path: got, and numpy has want`. */
  readonly wrong: readonly string[];
  readonly numbers: number;
}

/** Everything that `want` has must be in `got`: numbers to 1e-9, whatever else (counts, nulls, orders, names) exactly. */
export function disagreements(want: unknown, got: unknown): Comparison {
  const wrong: string[] = [];
  let numbers = 0;
  const compare = (a: unknown, b: unknown, path: string): void => {
    if (isObject(a) && isObject(b)) {
      if (Array.isArray(a) && Array.isArray(b) && a.length !== b.length)
        wrong.push(`${path}: ${b.length} entries, and numpy has ${a.length}`);
      for (const key of Object.keys(a)) compare(Reflect.get(a, key), Reflect.get(b, key), `${path}.${key}`);
      return;
    }
    const both = typeof a === 'number' && typeof b === 'number';
    if (both) numbers++;
    const near = both && Math.abs(a - b) <= TOLERANCE * Math.max(1e-3, Math.abs(a));
    if (!(near || a === b)) wrong.push(`${path}: ${String(b)}, and numpy has ${String(a)}`);
  };
  compare(want, got, '');
  return { wrong, numbers };
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}
