import { type Instance, needed } from './instance.ts';
import {
  type Column,
  type ColumnType,
  charactersOf,
  pathOf,
  type Schema,
  SchemaError,
  type TextLimits,
  wholeWithin,
} from './schema.ts';

/** Numbers of types in assembly/schema.ts. */
const TYPES: Readonly<Record<ColumnType, number>> = {
  number: 0,
  integer: 1,
  boolean: 2,
  id: 3,
  text: 4,
  time: 5,
  numbers: 6,
};
const NODE_TYPE = 7;

const MAX_COLUMNS = 1024;
const DEFAULT_MAX_IDS = 65_536;
const LARGEST_MAX_IDS = 2 ** 24;
const DEFAULT_MAX_ENTRIES = 256;
const LARGEST_MAX_ENTRIES = 2 ** 20;
/** Entries that a batch has room for, per row; a batch ends early where lines have more. */
const ENTRIES_PER_ROW = 16;
const ANY_LENGTH = 0xffff_ffff;
const MAX_KEY_BYTES = 4096;

/** A column in the module's memory. */
export interface CompiledColumn {
  readonly name: string;
  readonly type: ColumnType;
  readonly pointer: number;
}

/** An object that paths go through. */
interface Node {
  readonly members: Map<string, Leaf | Node>;
  readonly keys: readonly string[];
  firstColumn: number;
  /** All columns below may be null. */
  nullable: boolean;
}

interface Leaf {
  readonly column: Column;
  readonly pointer: number;
}

export interface Compiling {
  readonly instance: Instance;
  readonly rows: number;
  readonly allowPrototypeKeys: boolean;
  /** A pointer to room for a key, and its size. */
  readonly scratch: number;
}

/** Builds the schema in the module's memory. */
export function compileSchema(schema: Schema, compiling: Compiling): readonly CompiledColumn[] {
  const names = Object.keys(schema);
  wholeWithin('the number of columns in the schema', names.length, 1, MAX_COLUMNS);
  const root: Node = { members: new Map(), keys: [], firstColumn: 0, nullable: false };
  let required = 0;
  const columns = names.map((name, index): CompiledColumn => {
    const column = schema[name]!;
    if (!Object.hasOwn(TYPES, column.type)) {
      throw new SchemaError(`schema.${name}.type`, `must be one of ${Object.keys(TYPES).join(', ')}`);
    }
    const path = pathOf(name, column);
    if (!compiling.allowPrototypeKeys) refusePrototype(name, path);
    const pointer = createColumn(name, column, compiling);
    place(root, name, path, { column, pointer }, index);
    if (column.optional !== true) required++;
    return { name, type: column.type, pointer };
  });
  const { wasm } = compiling.instance;
  wasm.setRoot(build(root, 0, compiling), required);
  return columns;
}

function refusePrototype(name: string, path: readonly string[]): void {
  const forbidden = path.some(
    (key, i) => key === '__proto__' || (key === 'prototype' && path[i - 1] === 'constructor'),
  );
  if (forbidden)
    throw new SchemaError(`schema.${name}.path`, 'holds a key that is refused unless allowPrototypeKeys is set');
}

function createColumn(name: string, column: Column, { instance, rows }: Compiling): number {
  const { wasm } = instance;
  const field = `schema.${name}`;
  const maxIds = 'maxIds' in column ? (column.maxIds ?? DEFAULT_MAX_IDS) : DEFAULT_MAX_IDS;
  const maxEntries = column.type === 'numbers' ? (column.maxEntries ?? DEFAULT_MAX_ENTRIES) : 0;
  wholeWithin(`${field}.maxIds`, maxIds, 1, LARGEST_MAX_IDS);
  wholeWithin(`${field}.maxEntries`, maxEntries, 0, LARGEST_MAX_ENTRIES);
  const nullable = column.nullable === true;
  const pointer = needed(
    wasm.createColumn(
      TYPES[column.type],
      column.optional === true || nullable ? 1 : 0,
      nullable ? 1 : 0,
      maxIds,
      Math.max(maxEntries, rows * ENTRIES_PER_ROW),
    ),
  );
  if (column.type === 'number' || column.type === 'integer') {
    const whole = column.type === 'integer';
    const min = column.min ?? (whole ? Number.MIN_SAFE_INTEGER : -Infinity);
    const max = column.max ?? (whole ? Number.MAX_SAFE_INTEGER : Infinity);
    if (!(min <= max)) throw new SchemaError(`${field}.min`, 'must be a number not above max');
    wasm.setRange(pointer, min, max);
  } else if (column.type === 'id' || column.type === 'text') {
    setTexts(field, column, pointer, instance);
  } else if (column.type === 'numbers') {
    setTexts(`${field}.keys`, column.keys ?? {}, pointer, instance);
    const minEntries = wholeWithin(`${field}.minEntries`, column.minEntries ?? 0, 0, maxEntries);
    wasm.setEntries(pointer, minEntries, maxEntries);
  }
  return pointer;
}

function setTexts(field: string, limits: TextLimits, pointer: number, { wasm }: Instance): void {
  const max = wholeWithin(`${field}.maxBytes`, limits.maxBytes ?? ANY_LENGTH, 0, ANY_LENGTH);
  const min = wholeWithin(`${field}.minBytes`, limits.minBytes ?? 0, 0, max);
  const codes = limits.characters === undefined ? undefined : charactersOf(`${field}.characters`, limits.characters);
  const characters = codes === undefined ? 0 : characterSet(wasm, codes);
  const plain = characterSet(wasm, (codes ?? ASCII).filter(isPlain));
  wasm.setTexts(pointer, min, max, characters, plain);
}

const ASCII: readonly number[] = Array.from({ length: 128 }, (_, code) => code);

/** May a string hold the character without an escape? */
function isPlain(code: number): boolean {
  return code >= 0x20 && code !== 0x22 && code !== 0x5c;
}

function characterSet(wasm: Instance['wasm'], codes: readonly number[]): number {
  const set = needed(wasm.createCharacters());
  for (const code of codes) wasm.addCharacter(set, code);
  return set;
}

/** Puts a column where its path leads; paths that meet share their nodes. */
function place(root: Node, name: string, path: readonly string[], leaf: Leaf, index: number): void {
  const taken = new SchemaError(`schema.${name}.path`, 'leads to or through the value of another column');
  let node = root;
  for (const [i, key] of path.entries()) {
    const found = node.members.get(key);
    if (i === path.length - 1) {
      if (found !== undefined) throw taken;
      node.members.set(key, leaf);
    } else if (found === undefined) {
      const next: Node = {
        members: new Map(),
        keys: path.slice(0, i + 1),
        firstColumn: index,
        nullable: leaf.column.nullable === true,
      };
      node.members.set(key, next);
      node = next;
    } else if ('column' in found) {
      throw taken;
    } else {
      found.nullable &&= leaf.column.nullable === true;
      node = found;
    }
  }
}

function build(node: Node, parent: number, compiling: Compiling): number {
  const { wasm } = compiling.instance;
  const underConstructor = node.keys.at(-1) === 'constructor';
  const pointer = needed(
    wasm.createNode(parent, node.members.size, node.firstColumn, node.nullable ? 1 : 0, underConstructor ? 1 : 0),
  );
  for (const [key, member] of node.members) {
    const length = writeKey(key, compiling);
    if ('column' in member) {
      const required = member.column.optional === true ? 0 : 1;
      const type = TYPES[member.column.type];
      const added = needed(wasm.addMember(pointer, compiling.scratch, length, type, member.pointer, required));
      wasm.setMember(member.pointer, added, pointer);
    } else {
      const below = build(member, pointer, compiling);
      // Building what is below wrote its keys to the same place.
      writeKey(key, compiling);
      needed(wasm.addMember(pointer, compiling.scratch, length, NODE_TYPE, below, 0));
    }
  }
  return pointer;
}

function writeKey(key: string, { instance, scratch }: Compiling): number {
  const bytes = new TextEncoder().encode(key);
  if (bytes.length > MAX_KEY_BYTES)
    throw new SchemaError('a key of a path', `must have at most ${MAX_KEY_BYTES} bytes`);
  new Uint8Array(instance.memory.buffer).set(bytes, scratch);
  return bytes.length;
}
