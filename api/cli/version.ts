import { readFileSync } from 'node:fs';

/** Merit's own version, as package.json has it. */
export function packageVersion(): string {
  return (JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string })
    .version;
}
