import type { Column, Reason, Refusal, Schema, TextLimits } from 'simd-json-wasm';
import type { Json } from '../../../../core/canonical.ts';
import { isJsonObject, type JsonObject, parseJsonObject } from '../../../../core/json.ts';
import { locateJson } from '../../../../core/json-position.ts';
import { isBlank } from '../../../../core/ndjson.ts';
import { parseRfc3339 } from '../../../../core/rfc3339.ts';
import type { Cell, Cells, KeptLine, Reading } from './read-columns.ts';

/** What a reader must come to: refusals as Merit's own JSON reader words them, values as JSON.parse reads them, and plain checks of objects. */
export function expectedReading(schema: Schema, input: Uint8Array, maxLineBytes: number): Reading {
  const kept: KeptLine[] = [];
  const refused: Refusal[] = [];
  for (const [i, line] of linesOf(input).entries()) {
    const outcome = expectedLine(schema, line, maxLineBytes);
    if (outcome === undefined) continue;
    if ('cells' in outcome) kept.push({ line: i + 1, cells: outcome.cells });
    else refused.push({ line: i + 1, ...outcome });
  }
  return { kept, refused };
}

function linesOf(input: Uint8Array): readonly Uint8Array[] {
  const lines: Uint8Array[] = [];
  let from = 0;
  while (from < input.length) {
    const feed = input.indexOf(0x0a, from);
    const end = feed === -1 ? input.length : feed;
    lines.push(input.subarray(from, end));
    from = end + 1;
  }
  return lines;
}

type Misfit = Omit<Refusal, 'line'>;

function expectedLine(schema: Schema, line: Uint8Array, maxLineBytes: number): { cells: Cells } | Misfit | undefined {
  if (line.length > maxLineBytes) return { offset: 0, reason: 'too_large', column: undefined };
  if (isBlank(line)) return undefined;
  const reading = parseJsonObject(line);
  if (!reading.ok) return { offset: reading.position, reason: reading.code, column: undefined };
  const text = Buffer.from(line).toString('utf8');
  // V8 13.6 reads the key of {"A":1,"\u0061":1} as a backslash once it has read {"A":1,"\\":1}: where there are such escapes, our own reader is asked.
  const document = text.includes('\\u') ? reading.value : (JSON.parse(text) as JsonObject);
  const cells: Record<string, Cell> = {};
  for (const [name, column] of Object.entries(schema)) {
    const path = pathOf(name, column);
    const found = walk(document, path, schema);
    const misfit = (reason: Reason, at: readonly string[]): Misfit => ({
      offset: locateJson(line, at),
      reason,
      column: name,
    });
    if (found.kind === 'stopped') return misfit('type', found.at);
    if (found.kind === 'absent') {
      if (column.optional !== true) return misfit('missing', path);
      continue;
    }
    if (found.value === null && column.nullable === true) continue;
    const cell = cellOf(column, found.value, (key) => locateJson(line, [...path, key]));
    if ('reason' in cell) {
      const { offset, column: of } = misfit(cell.reason, [...path, ...(cell.key === undefined ? [] : [cell.key])]);
      return { offset: cell.atKey === true ? keyBefore(line, offset) : offset, reason: cell.reason, column: of };
    }
    cells[name] = cell.cell;
  }
  return { cells };
}

type Found =
  | { readonly kind: 'value'; readonly value: Json }
  | { readonly kind: 'absent' }
  /** Something else than an object where the path goes on. */
  | { readonly kind: 'stopped'; readonly at: readonly string[] };

function pathOf(name: string, { path }: Column): readonly string[] {
  return typeof path === 'string' ? path.split('.') : (path ?? [name]);
}

function walk(root: JsonObject, path: readonly string[], schema: Schema): Found {
  let value: Json = root;
  for (const [i, key] of path.entries()) {
    if (value === null && mayBeNull(schema, path.slice(0, i))) return { kind: 'absent' };
    if (!isJsonObject(value)) return { kind: 'stopped', at: path.slice(0, i) };
    if (!Object.hasOwn(value, key)) return { kind: 'absent' };
    value = value[key]!;
  }
  return { kind: 'value', value };
}

/** Where the key of the value at `offset` begins. */
function keyBefore(line: Uint8Array, offset: number): number {
  const text = Buffer.from(line).toString('latin1', 0, offset);
  const key = /"(?:[^"\\]|\\.)*"[ \t\r]*:[ \t\r]*$/.exec(text);
  if (key === null) throw new Error('there is no key');
  return key.index;
}

/** An object on the way may be null where all columns below it may. */
function mayBeNull(schema: Schema, path: readonly string[]): boolean {
  return Object.entries(schema)
    .filter(([name, column]) => path.every((key, i) => pathOf(name, column)[i] === key))
    .every(([, column]) => column.nullable === true);
}

type CellReading =
  | { readonly cell: Cell }
  | { readonly reason: Reason; readonly key?: string; readonly atKey?: boolean };

function cellOf(column: Column, value: Json, place: (key: string) => number): CellReading {
  switch (column.type) {
    case 'number':
    case 'integer': {
      if (typeof value !== 'number') return { reason: 'type' };
      const whole = column.type === 'integer';
      if (whole && !Number.isInteger(value)) return { reason: 'integer' };
      const { min = whole ? Number.MIN_SAFE_INTEGER : -Infinity, max = whole ? Number.MAX_SAFE_INTEGER : Infinity } =
        column;
      return value >= min && value <= max ? { cell: value } : { reason: 'range' };
    }
    case 'boolean':
      return typeof value === 'boolean' ? { cell: value } : { reason: 'type' };
    case 'id':
    case 'text': {
      if (typeof value !== 'string') return { reason: 'type' };
      const reason = textReason(column, value);
      return reason === undefined ? { cell: value } : { reason };
    }
    case 'time': {
      if (typeof value !== 'string') return { reason: 'type' };
      const ms = parseRfc3339(value);
      return ms === undefined ? { reason: 'time_format' } : { cell: ms };
    }
    case 'numbers':
      return isJsonObject(value) ? entriesOf(column, value, place) : { reason: 'type' };
  }
}

function entriesOf(
  column: Column & { readonly type: 'numbers' },
  value: JsonObject,
  place: (key: string) => number,
): CellReading {
  const entries: (readonly [string, number])[] = [];
  // Objects move keys that look like an index to the front.
  const inOrder = Object.entries(value).sort(([a], [b]) => place(a) - place(b));
  for (const [key, entry] of inOrder) {
    const reason = textReason(column.keys ?? {}, key);
    if (reason !== undefined) return { reason, key, atKey: true };
    if (typeof entry !== 'number') return { reason: 'type', key };
    entries.push([key, entry]);
  }
  const { minEntries = 0, maxEntries = 256 } = column;
  return entries.length >= minEntries && entries.length <= maxEntries ? { cell: entries } : { reason: 'entries' };
}

function textReason({ minBytes = 0, maxBytes = Infinity, characters }: TextLimits, text: string): Reason | undefined {
  const length = Buffer.byteLength(text);
  if (length < minBytes || length > maxBytes) return 'length';
  return characters !== undefined && !new RegExp(`^[${characters}]*$`).test(text) ? 'characters' : undefined;
}
