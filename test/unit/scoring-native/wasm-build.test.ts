import { existsSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { compile, ENTRIES } from '../../../scoring-native/build-wasm.mjs';

const FOLDER = new URL('../../../scoring-native/', import.meta.url);

test.each(ENTRIES.filter(({ source }) => existsSync(new URL(source, FOLDER))))(
  '$wasm is what its source compiles to: after a change, npm run build:wasm and commit it',
  { timeout: 120_000 },
  async ({ source, wasm }) => {
    expect(Buffer.compare(await compile(source), readFileSync(new URL(wasm, FOLDER)))).toBe(0);
  },
);
