import { isJsonObject } from '../../core/json.ts';
import type { Row } from './render.ts';

/** One line each out of records that are longer: enough to know which one to look at. */

const MAX_HINT = 60;

function objectIn(value: unknown, ...path: readonly string[]): Row {
  let at = value;
  for (const name of path) at = isJsonObject(at) ? at[name] : undefined;
  return isJsonObject(at) ? at : {};
}

/** Why a promotion or demotion was decided, out of its signed evidence. */
export function decisionWhy(row: Row): string {
  const evidence = objectIn(row, 'signed', 'record', 'evidence');
  const ticks = (count: unknown) => `${String(count)} tick${count === 1 ? '' : 's'} in a row`;
  if (evidence.cause === 'guardrail') {
    const breached = objectsIn(evidence.guardrails).filter((one) => one.verdict === 'breach');
    return `guardrail breached: ${breached.map((one) => String(one.metric)).join(', ')}`;
  }
  if (evidence.cause === 'below') return `below ${String(evidence.demoteBelow)} for ${ticks(evidence.run)}`;
  if (evidence.promoteAbove === undefined) return '';
  const held = objectsIn(evidence.metrics).filter((one) => one.holds === true);
  const over = typeof evidence.displaced === 'string' ? ` over ${evidence.displaced}` : ', the seat was empty';
  const by = held.length === 0 ? '' : `; evidence holds for ${held.map((one) => String(one.metric)).join(', ')}`;
  return `at or above ${String(evidence.promoteAbove)} for ${ticks(evidence.run)}${over}${by}`;
}

function objectsIn(list: unknown): readonly Row[] {
  return Array.isArray(list) ? list.filter(isJsonObject) : [];
}

/** What an audit event is about: its reason, job or placement where it has one, else its first plain members. */
export function eventHint(data: unknown): string {
  const { text } = objectIn(data, 'reason');
  if (typeof text === 'string') return shortened(text);
  const { name, run } = objectIn(data, 'spec');
  if (name !== undefined) return shortened(`${String(name)}: ${String(run)}`);
  const { pool, flavour, provider } = objectIn(data, 'placement');
  if (pool !== undefined) return shortened(`${String(pool)}/${String(flavour)} on ${String(provider)}`);
  const handle = objectIn(data, 'handle');
  if (handle.id !== undefined) return shortened(`${String(handle.provider)} ${String(handle.id)}`);
  const plain = Object.entries(objectIn(data))
    .filter(([name, value]) => !HASHES.has(name) && ['string', 'number', 'boolean'].includes(typeof value))
    .map(([name, value]) => `${name}=${String(value)}`);
  return shortened(plain.join(' '));
}

/** Long, and shown where they belong: in the record itself. */
const HASHES: ReadonlySet<string> = new Set([
  'codeHash',
  'decision',
  'policyVersion',
  'retrain',
  'sha256',
  'suiteHash',
]);

function shortened(text: string): string {
  return text.length > MAX_HINT ? `${text.slice(0, MAX_HINT - 1)}…` : text;
}
