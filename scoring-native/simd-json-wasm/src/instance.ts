import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { SchemaError } from './schema.ts';

/** What is used of the WebAssembly API, which TypeScript describes for browsers only. */
interface WasmMemory {
  /** Another one after each growth. */
  readonly buffer: ArrayBuffer;
}
export interface WasmGlobal {
  readonly value: number;
}
interface WasmModule {
  readonly [Symbol.toStringTag]: string;
}
interface Wasm {
  Module: new (bytes: Uint8Array) => WasmModule;
  Memory: new (pages: { readonly initial: number; readonly maximum: number }) => WasmMemory;
  Instance: new (
    module: WasmModule,
    imports: { readonly env: { readonly memory: WasmMemory } },
  ) => { readonly exports: object };
}
const { Module, Memory, Instance } = (globalThis as unknown as { readonly WebAssembly: Wasm }).WebAssembly;

/** The compiled module's exports (assembly/index.ts). Pointers are offsets in its memory; where a call returns one, 0 says that memory is used up. */
interface Exports {
  setSeed(a: bigint, b: bigint): void;
  setLimits(depth: number, line: number, refuseNul: number, refusePrototype: number): void;
  createRows(limit: number): number;
  createRefusals(limit: number): number;
  createInput(bytes: number): number;
  createColumn(type: number, optional: number, nullable: number, idLimit: number, entryRoom: number): number;
  setRange(column: number, min: number, max: number): void;
  setTexts(column: number, min: number, max: number, characters: number, plain: number): void;
  setEntries(column: number, min: number, max: number): void;
  setMember(column: number, member: number, node: number): void;
  createCharacters(): number;
  addCharacter(set: number, code: number): void;
  createNode(parent: number, capacity: number, firstColumn: number, nullable: number, underConstructor: number): number;
  addMember(node: number, name: number, length: number, type: number, target: number, required: number): number;
  setRoot(node: number, requiredMembers: number): void;
  readLines(from: number, end: number): number;
  refuseLongLine(): number;
  restartLines(): void;
  clearRows(): void;
  clearRefusals(): void;
  internedCount(table: number): number;
  internedRecord(table: number, id: number): number;
  readonly row: WasmGlobal;
  readonly rowLines: WasmGlobal;
  readonly rowStarts: WasmGlobal;
  readonly rowEnds: WasmGlobal;
  readonly refusals: WasmGlobal;
  readonly refusalLines: WasmGlobal;
  readonly refusalOffsets: WasmGlobal;
  readonly refusalCodes: WasmGlobal;
  readonly refusalColumns: WasmGlobal;
  readonly refusalStarts: WasmGlobal;
  readonly refusalEnds: WasmGlobal;
  /** Where in a column its blocks are kept. */
  readonly VALUES: WasmGlobal;
  readonly PRESENT: WasmGlobal;
  readonly ENDS: WasmGlobal;
  readonly ESCAPED: WasmGlobal;
  readonly IDS_TABLE: WasmGlobal;
  readonly ENTRY_KEYS: WasmGlobal;
  readonly OFFSETS: WasmGlobal;
  readonly ENTRIES: WasmGlobal;
}

export interface Instance {
  readonly wasm: Exports;
  readonly memory: WasmMemory;
}

const PAGE_BYTES = 65_536;
/** What the module asks for at least before it runs. */
const FIRST_PAGES = 1;

let compiled: WasmModule | undefined;

/** A fresh instance whose memory never grows beyond `maxMemoryBytes`. */
export function createInstance(maxMemoryBytes: number): Instance {
  compiled ??= new Module(readFileSync(new URL('columns.wasm', import.meta.url)));
  const memory = new Memory({ initial: FIRST_PAGES, maximum: Math.floor(maxMemoryBytes / PAGE_BYTES) });
  const wasm = new Instance(compiled, { env: { memory } }).exports as Exports;
  const seed = randomBytes(16);
  wasm.setSeed(seed.readBigUInt64LE(0), seed.readBigUInt64LE(8));
  return { wasm, memory };
}

/** The pointer, which is 0 where the memory that was allowed is used up before the first line. */
export function needed(pointer: number): number {
  if (pointer === 0) throw new SchemaError('options.maxMemoryBytes', 'is too little for this schema and these limits');
  return pointer;
}

/** The 32-bit word at `at`. */
export function wordAt(instance: Instance, at: number): number {
  return new Uint32Array(instance.memory.buffer, at, 1)[0]!;
}
