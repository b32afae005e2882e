import type { Io } from './io.ts';
import { oneLine, plainText, safeJson } from './text.ts';
import type { Format } from './values.ts';

export type Row = Readonly<Record<string, unknown>>;

/** A column of a table: its head, and its cell of a row. `wide`: only with -o wide. */
export interface Column {
  readonly head: string;
  readonly cell: (row: Row) => unknown;
  readonly wide?: boolean;
}

const GAP = '  ';
const EMPTY = '–';
/** A cell is not longer than this, but for the last of its line; -o json has all of it. */
const MAX_CELL = 80;

function cellText(value: unknown, maxLength: number): string {
  if (value === null || value === undefined || value === '') return EMPTY;
  const text = oneLine(
    typeof value === 'string' ? value : typeof value === 'object' ? JSON.stringify(value) : String(value),
  );
  return text.length > maxLength ? `${text.slice(0, maxLength - 1)}…` : text;
}

export function table(columns: readonly Column[], rows: readonly Row[], wide = false): string {
  const shown = columns.filter((column) => wide || column.wide !== true);
  const lines = [
    shown.map((column) => column.head),
    ...rows.map((row) =>
      shown.map((column, i) =>
        cellText(column.cell(row), i === shown.length - 1 ? Number.POSITIVE_INFINITY : MAX_CELL),
      ),
    ),
  ];
  const widths = shown.map((_column, i) => Math.max(...lines.map((line) => [...(line[i] ?? '')].length)));
  return lines
    .map(
      (line) =>
        `${line.map((cell, i) => (i === line.length - 1 ? cell : cell + ' '.repeat(widths[i]! - [...cell].length))).join(GAP)}\n`,
    )
    .join('');
}

/** `name: value` lines for one thing. */
export function facts(pairs: readonly (readonly [string, unknown])[]): string {
  const known = pairs.filter(([, value]) => value !== undefined && value !== null);
  const width = Math.max(0, ...known.map(([head]) => head.length));
  return known
    .map(
      ([head, value]) =>
        `${head.padEnd(width)}${GAP}${oneLine(typeof value === 'string' ? value : JSON.stringify(value))}\n`,
    )
    .join('');
}

/** One thing with all its members: plain ones as facts, the nested ones below them as YAML. */
export async function wholeText(row: Row): Promise<string> {
  const isPlain = (value: unknown) =>
    typeof value !== 'object' ||
    value === null ||
    (Array.isArray(value) && value.every((one) => typeof one !== 'object' || one === null));
  const members = Object.entries(row);
  const plain = members
    .filter(([, value]) => isPlain(value))
    .map(([name, value]) => [name, Array.isArray(value) ? value.map(String).join(', ') : value] as const);
  const nested = Object.fromEntries(members.filter(([, value]) => !isPlain(value)));
  return `${facts(plain)}${Object.keys(nested).length === 0 ? '' : await yaml(nested)}`;
}

export interface Shape {
  readonly columns: readonly Column[];
  /** What -o name prints of a row. */
  readonly name: (row: Row) => string;
}

/** Writes a list in the format asked for; an empty list is an empty table with its head, [] in JSON. */
export async function showList(io: Io, format: Format, shape: Shape, rows: readonly Row[]): Promise<void> {
  switch (format) {
    case 'json':
      return io.out(`${safeJson(rows)}\n`);
    case 'yaml':
      return io.out(await yaml(rows));
    case 'name':
      return io.out(rows.map((row) => `${oneLine(shape.name(row))}\n`).join(''));
    case 'table':
    case 'wide':
      return io.out(table(shape.columns, rows, format === 'wide'));
  }
}

/** Writes one thing; `text` is its form for a person, the table row where there is none. */
export async function showOne(io: Io, format: Format, shape: Shape, row: Row, text?: string): Promise<void> {
  switch (format) {
    case 'json':
      return io.out(`${safeJson(row)}\n`);
    case 'yaml':
      return io.out(await yaml(row));
    case 'name':
      return io.out(`${oneLine(shape.name(row))}\n`);
    case 'table':
    case 'wide':
      return io.out(text === undefined ? table(shape.columns, [row], format === 'wide') : plainText(text));
  }
}

async function yaml(value: unknown): Promise<string> {
  const { stringifyYaml } = await import('../../platform/yaml.ts');
  return stringifyYaml(JSON.parse(safeJson(value)));
}
