import { InvalidArgumentError } from 'commander';
import { isAmount } from '../../core/currency.ts';
import { durationMs } from '../../core/duration.ts';
import { nameRefusal, slugRefusal } from '../../core/ids.ts';
import { parseRfc3339 } from '../../core/rfc3339.ts';
import { billingMonth } from '../../ledger/finops/billing-month.ts';

/** Values of flags. What is thrown here ends with exit 3 and names the flag; the value is shown with its control characters escaped. */

function bad(text: string, mend: string): InvalidArgumentError {
  const shown = text.length > 64 ? `${text.slice(0, 64)}…` : text;
  return new InvalidArgumentError(`${JSON.stringify(shown)}: ${mend}`);
}

/** A whole number in plain digits: no sign, exponent, radix, separator. */
export function integer(minimum: number, maximum: number): (text: string) => number {
  return (text) => {
    const value = /^(0|[1-9][0-9]{0,14})$/.test(text) ? Number(text) : Number.NaN;
    if (!(value >= minimum && value <= maximum)) throw bad(text, `write a whole number from ${minimum} to ${maximum}`);
    return value;
  };
}

export function money(text: string): string {
  if (!/^(0|[1-9][0-9]{0,12})(\.[0-9]{1,2})?$/.test(text)) throw bad(text, 'write an amount such as 12.50');
  return text;
}

/** With as many decimals as its currency has; the server holds it to them. */
export function amount(text: string): string {
  if (!isAmount(text)) throw bad(text, 'write an amount such as 500.00');
  return text;
}

export function currency(text: string): string {
  if (!/^[A-Z]{3}$/.test(text)) throw bad(text, 'write a currency such as USD');
  return text;
}

export function duration(text: string): string {
  if (durationMs(text) === undefined) throw bad(text, 'write a duration such as 30m, 2h or 1d');
  return text;
}

/** A calendar month. */
export function month(text: string): string {
  if (billingMonth(text) === undefined) throw bad(text, 'write a month such as 2026-11');
  return text;
}

/** A time: how long ago, or RFC 3339. As RFC 3339. */
export function since(text: string): string {
  const agoMs = durationMs(text);
  const atMs = agoMs === undefined ? parseRfc3339(text) : Date.now() - agoMs;
  if (atMs === undefined) throw bad(text, 'write how long ago, such as 2h, or a time such as 2026-11-26T08:00:00Z');
  return new Date(atMs).toISOString();
}

export function slug(text: string): string {
  const refusal = slugRefusal('', text);
  if (refusal !== undefined) throw bad(text, refusal.problem);
  return text;
}

/** A machine of a pool. */
export function node(text: string): string {
  if (!/^[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?$/.test(text))
    throw bad(text, 'write the name of a machine as its pool has it');
  return text;
}

export function name(text: string): string {
  const refusal = nameRefusal('', text);
  if (refusal !== undefined) throw bad(text, refusal.problem);
  return text;
}

/** A number from -1000 to 1000, or the name of a priority class. */
export function priority(text: string): number | string {
  if (/^-?[0-9]/.test(text)) return text.startsWith('-') ? -integer(1, 1000)(text.slice(1)) : integer(0, 1000)(text);
  return slug(text);
}

export function slugs(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, ...text.split(',').map(slug)];
}

/** A sentence for the record. */
export function reason(text: string): string {
  if (text.trim() === '' || text.length > 500 || /\p{Cc}/u.test(text))
    throw bad(text, 'write up to 500 characters in one line');
  return text;
}

export function path(text: string): string {
  if (text === '' || text.includes('\u0000')) throw bad(text, 'name a file');
  return text;
}

/** A flag that may be given several times. */
export function paths(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, path(text)];
}

/** Texts between commas; the command judges them. */
export function list(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, ...text.split(',')];
}

export function environment(
  text: string,
  before: Readonly<Record<string, string>> = {},
): Readonly<Record<string, string>> {
  const match = /^([A-Za-z_][A-Za-z0-9_]{0,127})=(.*)$/s.exec(text);
  if (match === null || text.includes('\u0000')) throw bad(text.split('=')[0] ?? '', 'write NAME=VALUE');
  return { ...before, [match[1]!]: match[2]! };
}

/** `2`, or `H100:2`, Ray's and SkyPilot's way of saying GPUs of one type. */
export function gpus(text: string): number | string {
  if (!text.includes(':')) return integer(0, 1024)(text);
  const match = /^([A-Za-z][A-Za-z0-9._-]{0,62}):(.*)$/.exec(text);
  if (match === null) throw bad(text, 'write a number such as 2, or a type and a number such as H100:2');
  return `${match[1]}:${integer(1, 1024)(match[2]!)}`;
}

/** `10`, or `10%3`, Slurm's way of saying ten tasks of which at most three run at once. */
export function array(text: string): { readonly count: number; readonly max_parallel?: number } {
  const [count = '', most, ...rest] = text.split('%');
  if (rest.length > 0) throw bad(text, 'write a number of tasks such as 10, or 10%3 for three at a time');
  const tasks = { count: integer(1, 1000)(count) };
  return most === undefined ? tasks : { ...tasks, max_parallel: integer(1, 1000)(most) };
}

/** Where a replay may go: nothing live is ever written. */
export function shadow(text: string): string {
  if (text !== 'shadow') throw bad(text, 'write shadow: nothing live is ever written');
  return text;
}

export function source(text: string): string {
  if (text !== 'archive' && text !== 'log') throw bad(text, 'write archive or log');
  return text;
}

/** The name of an Ed25519 key. */
export function keyId(text: string): string {
  if (!/^ed25519:[0-9a-f]{16}$/.test(text)) throw bad(text, 'write the key id that `merit signer show` prints');
  return text;
}

const FORMATS = ['table', 'wide', 'json', 'yaml', 'name'] as const;
export type Format = (typeof FORMATS)[number];

export function format(text: string): Format {
  const found = FORMATS.find((known) => known === text);
  if (found === undefined) throw bad(text, `write one of ${FORMATS.join(', ')}`);
  return found;
}
