/** What a reader is to find in each line: columns by name. */
export type Schema = Readonly<Record<string, Column>>;

export type Column = NumberColumn | IntegerColumn | BooleanColumn | IdColumn | TextColumn | TimeColumn | NumbersColumn;

export type ColumnType = Column['type'];

interface AnyColumn {
  /** Keys from the line's object to the value: `'metrics.accuracy'`, or a list where a key holds a dot. Default: the column's name, undivided. */
  readonly path?: string | readonly string[];
  /** May a line lack the key? Default false: it is refused. */
  readonly optional?: boolean;
  /** May the value be `null`? It counts as absent then. Default false. */
  readonly nullable?: boolean;
}

/** The IEEE double nearest the literal. */
export interface NumberColumn extends AnyColumn {
  readonly type: 'number';
  /** Inclusive. */
  readonly min?: number;
  readonly max?: number;
}

/** A number whose value is an integer, also where it is written `5.12e2`; within ±(2^53 − 1) unless said otherwise. */
export interface IntegerColumn extends AnyColumn {
  readonly type: 'integer';
  readonly min?: number;
  readonly max?: number;
}

export interface BooleanColumn extends AnyColumn {
  readonly type: 'boolean';
}

/** What strings, or keys, must be made of. */
export interface TextLimits {
  /** Bytes of UTF-8, escapes decoded. Defaults: 0 and no limit but the line's. */
  readonly minBytes?: number;
  readonly maxBytes?: number;
  /** ASCII characters and ranges of them, as inside the brackets of a regular expression: `'A-Za-z0-9._-'`. Default: any text. */
  readonly characters?: string;
}

/** A string as a small number: 0, 1, 2 … in the order in which texts first appear in lines that are kept. */
export interface IdColumn extends AnyColumn, TextLimits {
  readonly type: 'id';
  /** Distinct texts. A line that brings one more is refused. Default 65,536. */
  readonly maxIds?: number;
}

/** A string as the span of its bytes. */
export interface TextColumn extends AnyColumn, TextLimits {
  readonly type: 'text';
}

/** An RFC 3339 date-time with a zone, as milliseconds since the epoch; digits behind the millisecond are cut off. */
export interface TimeColumn extends AnyColumn {
  readonly type: 'time';
}

/** An object of numbers whose keys are not known before. */
export interface NumbersColumn extends AnyColumn {
  readonly type: 'numbers';
  readonly minEntries?: number;
  /** Default 256. */
  readonly maxEntries?: number;
  readonly keys?: TextLimits;
  /** Distinct keys over all lines. Default 65,536. */
  readonly maxIds?: number;
}

/** A schema or an option that makes no sense: a mistake of the program that gives it. */
export class SchemaError extends Error {
  override readonly name = 'SchemaError';
  /** Which one, such as `schema.model.maxIds`. */
  readonly field: string;

  constructor(field: string, problem: string) {
    super(`${field} ${problem}`);
    this.field = field;
  }
}

/** An integer in min … max; throws a SchemaError for anything else. */
export function wholeWithin(field: string, value: number, min: number, max: number): number {
  if (Number.isInteger(value) && value >= min && value <= max) return value;
  throw new SchemaError(field, `must be an integer from ${min} to ${max}`);
}

/** The keys that lead to a column's value. */
export function pathOf(name: string, column: Column): readonly string[] {
  const path = column.path ?? [name];
  const keys = typeof path === 'string' ? path.split('.') : path;
  if (keys.length === 0) throw new SchemaError(`schema.${name}.path`, 'must have at least one key');
  for (const key of keys) {
    if (!key.isWellFormed())
      throw new SchemaError(`schema.${name}.path`, 'holds a lone surrogate, which no line may hold');
  }
  return keys;
}

/** The codes of the ASCII characters that a list such as `A-Za-z0-9._-` stands for. */
export function charactersOf(field: string, list: string): readonly number[] {
  const codes = new Set<number>();
  for (let i = 0; i < list.length; i++) {
    const from = list.charCodeAt(i);
    const isRange = list[i + 1] === '-' && i + 2 < list.length;
    const to = isRange ? list.charCodeAt(i + 2) : from;
    if (from > to || to > 0x7f) throw new SchemaError(field, 'must list ASCII characters, and ranges of them upwards');
    for (let code = from; code <= to; code++) codes.add(code);
    if (isRange) i += 2;
  }
  if (codes.size === 0) throw new SchemaError(field, 'must list at least one character');
  return [...codes];
}
