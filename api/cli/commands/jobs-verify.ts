import { connect } from '../client.ts';
import { CliError, EXIT } from '../exit.ts';
import type { Invocation } from '../invocation.ts';
import { jobIdOf } from '../job-ref.ts';
import { type Row, showOne, table } from '../render.ts';
import { FILES } from '../shapes.ts';
import type { Format } from '../values.ts';

const VERIFY_TIMEOUT_MS = 30 * 60_000;

/** Exit 0: every stored byte is as recorded; 10: one is not; 11: there is nothing to verify. */
export default async function jobsVerify(invocation: Invocation): Promise<number> {
  const { args, options, io } = invocation;
  const client = await connect(invocation);
  const id = await jobIdOf(client, args[0] ?? '');
  const result = await client
    .json<Row>('GET', `/v1/jobs/${id}/verification`, { timeoutMs: VERIFY_TIMEOUT_MS })
    .catch((error: unknown) => {
      if (error instanceof CliError && error.code === 'no_artifacts')
        throw new CliError(EXIT.incomplete, error.code, error.message);
      throw error;
    });
  const findings = Array.isArray(result.findings) ? (result.findings as readonly Row[]) : [];
  const text =
    result.ok === true
      ? `${asRecorded(result)}: all as recorded\n`
      : table(
          [
            { head: 'FINDING', cell: (row) => row.kind },
            { head: 'WHAT', cell: (row) => row.path ?? logText(row) ?? row.key ?? row.where },
            { head: 'DETAIL', cell: (row) => detailOf(row) },
          ],
          findings,
        );
  await showOne(io, options.output as Format, FILES, result, text);
  return result.ok === true ? EXIT.ok : EXIT.tampered;
}

function asRecorded({ filesRead, bytesRead, logs, logBytesRead }: Row): string {
  const files = `${String(filesRead)} files, ${String(bytesRead)} bytes`;
  // A server that is older than this command reads no logs.
  return Array.isArray(logs) ? `${files}; ${logs.length} logs, ${String(logBytesRead)} bytes` : files;
}

/** undefined: it is not about a log. */
function logText({ kind, attempt, fromByte, n }: Row): string | undefined {
  if (n !== undefined) return `audit event ${String(n)} of the job`;
  if (typeof kind !== 'string' || !kind.includes('_log')) return undefined;
  const at = fromByte === undefined ? '' : ` at byte ${String(fromByte)}`;
  return `log of attempt ${String(attempt)}${at}`;
}

function detailOf(row: Row): string {
  const expected = row.expected as { size?: number; sha256?: string | null } | undefined;
  const actual = row.actual as { size?: number; sha256?: string | null } | undefined;
  if (expected === undefined || actual === undefined) return '';
  const text = (whole: NonNullable<typeof actual>) => `${whole.size} B ${whole.sha256?.slice(0, 12) ?? 'no hash'}`;
  return `recorded ${text(expected)}, found ${text(actual)}`;
}
