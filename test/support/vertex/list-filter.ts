import { RPC } from '../../../providers/vertex/errors.ts';
import { RpcError } from './rpc-error.ts';

/** A job as filters see it. */
export interface Filtered {
  readonly displayName: string;
  readonly state: string;
  readonly createdAtMs: number;
  readonly labels: Readonly<Record<string, string>>;
}

const TERM = /^(display_name|state|create_time|labels\.[a-z0-9_-]+)(!=|=|<=|>=|<|>|:)(.+)$/;

/** As much of the standard list filter as the API documents for custom jobs, without OR and NOT: whatever else is written is refused. */
export function listFilter(text: string): (job: Filtered) => boolean {
  if (text === '') return () => true;
  const terms = text.split(' AND ').map(termOf);
  return (job) => terms.every((term) => term(job));
}

function termOf(text: string): (job: Filtered) => boolean {
  const refused = () => new RpcError(RPC.invalidArgument, `Invalid filter: ${text}`);
  const [, field = '', operator = '', written = ''] = TERM.exec(text) ?? [];
  const value = /^"([^"\\]*)"$/.exec(written)?.[1] ?? (/^[a-z0-9_-]+$/.test(written) ? written : undefined);
  if (field.startsWith('labels.')) {
    const key = field.slice('labels.'.length);
    if (operator === ':' && written === '*') return ({ labels }) => labels[key] !== undefined;
    if (operator === '=' && value !== undefined) return ({ labels }) => labels[key] === value;
    throw refused();
  }
  if (value === undefined) throw refused();
  if (field === 'create_time') return byTime(operator, Date.parse(value), refused);
  if (operator !== '=' && operator !== '!=') throw refused();
  const own = ({ displayName, state }: Filtered) => (field === 'state' ? state : displayName);
  return (job) => (own(job) === value) === (operator === '=');
}

function byTime(operator: string, atMs: number, refused: () => RpcError): (job: Filtered) => boolean {
  if (Number.isNaN(atMs)) throw refused();
  switch (operator) {
    case '>':
      return ({ createdAtMs }) => createdAtMs > atMs;
    case '<':
      return ({ createdAtMs }) => createdAtMs < atMs;
    case '>=':
      return ({ createdAtMs }) => createdAtMs >= atMs;
    default:
      throw refused();
  }
}
