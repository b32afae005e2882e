import { isBookingId, nameRefusal } from '../../core/ids.ts';
import type { Client } from './client.ts';
import { CliError, EXIT } from './exit.ts';
import type { Row } from './render.ts';

/** What a job is after its booking ended so; the exit code of whoever waited for it. */
const END_EXIT: Readonly<Record<string, number>> = {
  released: EXIT.ok,
  rejected: EXIT.denied,
  infeasible: EXIT.denied,
  failed: EXIT.jobFailed,
  expired: EXIT.jobFailed,
  cancelled: EXIT.jobFailed,
  revoked: EXIT.jobFailed,
};

/** undefined while it lives. */
export function endExit(state: unknown): number | undefined {
  return END_EXIT[String(state)];
}

/** The id of a job given by id, or by the name of its newest one. Throws CliError 9 where there is none, 3 where it can be neither. */
export function jobIdOf(client: Client, reference: string): Promise<string> {
  return idOf(client, reference, '/v1/jobs', 'job');
}

/** The same of any allocation, also one of money alone. */
export function allocationIdOf(client: Client, reference: string): Promise<string> {
  return idOf(client, reference, '/v1/allocations', 'allocation');
}

async function idOf(client: Client, reference: string, path: string, what: 'job' | 'allocation'): Promise<string> {
  if (isBookingId(reference)) return reference;
  if (nameRefusal('', reference) !== undefined) {
    throw new CliError(
      EXIT.badValue,
      what,
      `${JSON.stringify(reference.slice(0, 80))} is neither a ${what}'s id nor a name`,
      { mend: `see "merit ${what}s ls"` },
    );
  }
  const { items } = await client.get<{ items: readonly Row[] }>(
    `${path}?limit=1&name=${encodeURIComponent(reference)}`,
  );
  const id = items[0]?.id;
  if (typeof id === 'string') return id;
  throw new CliError(EXIT.notFound, 'not_found', `there is no ${what} named ${reference}`, {
    mend: `see "merit ${what}s ls"`,
  });
}
