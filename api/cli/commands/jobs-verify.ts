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
      ? `${String(result.filesRead)} files, ${String(result.bytesRead)} bytes: all as recorded\n`
      : table(
          [
            { head: 'FINDING', cell: (row) => row.kind },
            { head: 'WHAT', cell: (row) => row.path ?? row.key ?? row.where },
            { head: 'DETAIL', cell: (row) => detailOf(row) },
          ],
          findings,
        );
  await showOne(io, options.output as Format, FILES, result, text);
  return result.ok === true ? EXIT.ok : EXIT.tampered;
}

function detailOf(finding: Row): string {
  const expected = finding.expected as { size?: number; sha256?: string } | undefined;
  const actual = finding.actual as { size?: number; sha256?: string } | undefined;
  if (expected === undefined || actual === undefined) return '';
  return `recorded ${expected.size} B ${expected.sha256?.slice(0, 12)}, found ${actual.size} B ${actual.sha256?.slice(0, 12)}`;
}
