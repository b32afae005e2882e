import { HttpProblem } from './problem.ts';

const VERSION_TAG = /^"([A-Za-z0-9._-]{1,64})"$/;

export function etagOf(version: string): string {
  return `"${version}"`;
}

/**
 * The version that If-Match demands; undefined: any or none. `If-None-Match: *` demands that there be nothing yet, told as ''.
 * Weak or several tags are refused: a change rests on exactly one version.
 */
export function demandedVersion(headers: {
  readonly [name: string]: string | string[] | undefined;
}): string | undefined {
  if (headers['if-none-match'] === '*') return '';
  const header = headers['if-match'];
  if (header === undefined || header === '*') return undefined;
  const version = typeof header === 'string' ? VERSION_TAG.exec(header)?.[1] : undefined;
  if (version === undefined) throw new HttpProblem(400, 'if_match', 'If-Match must be one ETag as the server gave it');
  return version;
}

export function stale(currentVersion: string): HttpProblem {
  const now = currentVersion === '' ? 'it does not exist' : `it is at ${etagOf(currentVersion)} now`;
  return new HttpProblem(412, 'stale', `it was changed since you read it: ${now}; read it again`);
}
