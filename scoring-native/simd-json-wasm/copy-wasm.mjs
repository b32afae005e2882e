// Part of `npm run build`: the compiled module goes beside the JavaScript that loads it.
import { copyFileSync } from 'node:fs';

copyFileSync(new URL('src/columns.wasm', import.meta.url), new URL('dist/columns.wasm', import.meta.url));
