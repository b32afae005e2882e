import { readFileSync } from 'node:fs';

/** What is used of the WebAssembly API, which TypeScript describes for browsers only. */
export interface KernelMemory {
  /** Another one after each growth. */
  readonly buffer: ArrayBuffer;
}
interface WasmModule {
  readonly [Symbol.toStringTag]: string;
}
interface Wasm {
  readonly Module: new (bytes: Uint8Array) => WasmModule;
  readonly Memory: new (pages: { readonly initial: number; readonly maximum: number }) => KernelMemory;
  readonly Instance: new (module: WasmModule, imports: object) => { readonly exports: object };
}
const { Module, Memory, Instance } = (globalThis as unknown as { readonly WebAssembly: Wasm }).WebAssembly;

/** The exports of assembly/index.ts, which says what each does. Pointers are byte offsets in the memory. */
export interface KernelExports {
  boundsAt(count: number): number;
  secretAt(): number;
  secretBytes(): number;
  setSeed(a: bigint, b: bigint): void;
  start(
    rows: number,
    lineBytes: number,
    chunkBytes: number,
    reports: number,
    models: number,
    paneBytes: number,
    depth: number,
    digests: number,
  ): void;
  addWindow(startMs: bigint, endMs: bigint): void;
  scratchAt(): number;
  tenantIs(length: number): void;
  suite(nameLength: number): number;
  metric(nameLength: number, factor: number, least: number, greatest: number): void;
  room(): number;
  arrived(length: number): void;
  fileEnds(): void;
  fileBegins(): void;
  inputAt(): number;
  readBlock(): number;
  rowColumn(column: number): number;
  metricsARow(): number;
  wordsARow(): number;
  quarantine(row: number): void;
  report(row: number, model: number, suite: number, observedAtMs: number, weight: number): number;
  value(row: number, suite: number, metric: number, x: number): number;
  contentAt(): number;
  contentBytes(): number;
  content(row: number, length: number, id: number, producer: number): void;
  offers(from: number, to: number): void;
  aggregates(from: number, to: number): number;
  acceptedDigests(rows: number): number;
  acceptedAt(): number;
  reportCount(): number;
  rollback(to: number): void;
  remember(key: number, content: number): void;
  forgetReports(): void;
  takePanes(): number;
  paneColumn(column: number): number;
  buckets(): number;
  bucketIndexesAt(): number;
  bucketCountsAt(): number;
  dropCells(): void;
  cellBytes(): number;
  cellsHeld(): number;
  modelAt(model: number): number;
  modelLength(model: number): number;
  numberText(value: number, to: number): number;
  sha256(at: number, length: number, to: number): void;
}

export interface KernelHost {
  readLine(row: number, at: number, length: number): void;
}

/** By the numbers of assembly/host.ts. */
const LIMITS = ['memory', 'reports', 'models', 'suites', 'panes'] as const;

export type KernelLimit = (typeof LIMITS)[number];

/** A named limit of the kernel was reached. The rows of the block in work are lost; reports and sums are as they were before its last row. */
export class KernelLimitReached extends Error {
  readonly limit: KernelLimit;

  constructor(limit: KernelLimit) {
    super(`the kernel's limit of ${limit} is reached`);
    this.name = 'KernelLimitReached';
    this.limit = limit;
  }
}

/** Static data and first tables; what is needed beyond grows. */
const FIRST_PAGES = 4;

let compiled: WasmModule | undefined;

export function kernelInstance(
  maxPages: number,
  host: KernelHost,
): { readonly exports: KernelExports; readonly memory: KernelMemory } {
  compiled ??= new Module(readFileSync(new URL('./kernel.wasm', import.meta.url)));
  const memory = new Memory({ initial: FIRST_PAGES, maximum: Math.max(FIRST_PAGES, maxPages) });
  const reached = (limit: number) => {
    throw new KernelLimitReached(LIMITS[limit] ?? 'memory');
  };
  const { exports } = new Instance(compiled, { env: { memory, reached, readLine: host.readLine } });
  return { exports: exports as KernelExports, memory };
}
