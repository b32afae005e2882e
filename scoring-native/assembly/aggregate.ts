import { addValue, cellOf, cellsAreFull, countReport } from './cells';
import { ACCEPTED, instants, metricStride, models, present, presentWords, quantised, statusOf, suitesOf, weights } from './rows';
import { NO_SUITE } from './suites';
import { stretchOf } from './stretches';

/** Adds the accepted rows of [from, to) to their cells; the first row that was not, since there is no room for more cells, or `to`. */
export function addRows(from: u32, to: u32): u32 {
  let row = from;
  while (row < to && !cellsAreFull()) {
    if (statusOf(row) == ACCEPTED) {
      const suite = load<i32>(suitesOf + (<usize>row << 2));
      if (suite != NO_SUITE) addRow(row, <u32>suite);
    }
    row++;
  }
  return row;
}

// @ts-ignore: decorator
@inline
function addRow(row: u32, suite: u32): void {
  const weight = load<u32>(weights + (<usize>row << 2));
  const stretch = stretchOf(load<f64>(instants + (<usize>row << 3)));
  const cell = cellOf(suite, load<u32>(models + (<usize>row << 2)), stretch);
  countReport(cell, weight);
  const values = quantised + ((<usize>row * metricStride) << 3);
  for (let word: u32 = 0; word < presentWords; word++) {
    let bits = load<u32>(present + ((<usize>row * presentWords + word) << 2));
    while (bits != 0) {
      const metric = (word << 5) + <u32>ctz(bits);
      addValue(cell, metric, load<f64>(values + (<usize>metric << 3)), weight);
      bits &= bits - 1;
    }
  }
}
