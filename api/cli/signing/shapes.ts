import { facts, type Row, type Shape } from '../render.ts';
import type { Shown } from './words.ts';

const signedOf = (row: Row): string => {
  const { signed, needed } = row as Shown;
  return `${signed.length} of ${needed.signatures}`;
};

/** `2 people, of them 1 finance` */
export function missingText({ missing }: Pick<Shown, 'missing'>): string {
  const roles = Object.entries(missing.roles).map(([role, count]) => `${count} ${role}`);
  if (missing.signatures === 0 && roles.length === 0) return 'nothing';
  const people = `${missing.signatures} ${missing.signatures === 1 ? 'person' : 'people'}`;
  return roles.length === 0 ? people : `${people}, of them ${roles.join(', ')}`;
}

export const PROPOSALS: Shape = {
  name: (row) => String(row.id),
  columns: [
    { head: 'ID', cell: (row) => row.id },
    { head: 'ACTION', cell: (row) => row.action },
    { head: 'STATE', cell: (row) => row.state },
    { head: 'ALLOCATION', cell: (row) => row.allocation, wide: true },
    { head: 'SIGNED', cell: signedOf },
    { head: 'MISSING', cell: (row) => missingText(row as Shown) },
    { head: 'REQUESTER', cell: (row) => row.requester },
    { head: 'EXPIRES', cell: (row) => row.expiresAt },
    { head: 'WHY', cell: (row) => row.reason },
  ],
};

export function proposalFacts(row: Row): string {
  const shown = row as Shown;
  const { maySign } = row as { maySign?: readonly { name: string }[] };
  return facts([
    ['id', shown.id],
    ['action', shown.action],
    ['state', shown.state],
    ['allocation', row.allocation],
    ['requester', row.requester],
    ['why', row.reason],
    ['signed by', shown.signed.map(({ person, keyId, at }) => `${person} (${keyId}, ${at})`).join(', ') || 'nobody'],
    ['missing', missingText(shown)],
    ['may sign', (maySign ?? []).map(({ name }) => name).join(', ') || 'nobody'],
    ['possible', row.possible === false ? 'no: too few people are left who may sign' : undefined],
    ['expires', row.expiresAt],
    ['statement', shown.statementHash],
  ]);
}
