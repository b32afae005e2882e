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
export async function jobIdOf(client: Client, reference: string): Promise<string> {
  if (isBookingId(reference)) return reference;
  if (nameRefusal('', reference) !== undefined) {
    throw new CliError(
      EXIT.badValue,
      'job',
      `${JSON.stringify(reference.slice(0, 80))} is neither a job's id nor a name`,
      { mend: 'see "merit jobs ls"' },
    );
  }
  const { items } = await client.get<{ items: readonly Row[] }>(
    `/v1/jobs?limit=1&name=${encodeURIComponent(reference)}`,
  );
  const id = items[0]?.id;
  if (typeof id === 'string') return id;
  throw new CliError(EXIT.notFound, 'not_found', `there is no job named ${reference}`, { mend: 'see "merit jobs ls"' });
}
