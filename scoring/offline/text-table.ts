/** Rows of cells as lines of equal columns, the head first. */
export function* tableLines(rows: readonly (readonly string[])[]): Generator<string> {
  const widths = (rows[0] ?? []).map((_, column) =>
    rows.reduce((width, row) => Math.max(width, row[column]!.length), 0),
  );
  for (const row of rows) {
    const cells = row.map((cell, i) => cell.padEnd(widths[i]!));
    yield `${cells.join('  ').trimEnd()}\n`;
  }
}

const DIGITS = 4;

export function decimal(value: number | null): string {
  return value === null ? '-' : value.toFixed(DIGITS);
}
