/** A module: its entry and where its bytes are committed, from this folder. */
export declare const ENTRIES: readonly { readonly source: string; readonly wasm: string }[];

/** The bytes of the module; rejects with the compiler's own words. */
export declare function compile(source: string, extra?: readonly string[]): Promise<Uint8Array>;
