import { fileVerifier } from '../../../ledger/audit/verify.ts';
import { openedFile, readRoots, readState, readWitnessed } from '../audit-files.ts';
import { usage } from '../exit.ts';
import type { Invocation } from '../invocation.ts';
import { facts, type Row, showOne, table } from '../render.ts';
import { EVENTS } from '../shapes.ts';
import type { Format } from '../values.ts';

/** Offline: no server, no network. Exit 0 holds, 10 tampered, 11 empty or incomplete, 12 shorter than the witness, 2 without roots. */
export default async function auditVerify({ args, options, io, signal }: Invocation): Promise<number> {
  const roots = await readRoots(io, String(options.roots));
  const { witness, state } = options;
  const verifier = fileVerifier(roots, {
    witnessed: witness === undefined ? undefined : await readWitnessed(io, String(witness), roots, signal),
    coverage: state === undefined ? undefined : await readState(io, String(state), signal),
  });
  for await (const chunk of await openedFile(io, args[0] ?? '', signal)) verifier.push(chunk);
  const { code, findings, totalFindings, summary } = verifier.end();
  if (summary?.kind === 'receipt' && (witness ?? state) !== undefined)
    throw usage(
      'a receipt is of one job, and is held against no witness or state',
      'verify a chain: merit audit export --out',
    );
  const verdict = VERDICTS[code];
  const result: Row = { verdict, exitCode: code, findings, totalFindings, summary: summary ?? null };
  const text = facts([['verdict', verdict], ...Object.entries(summary ?? {})]);
  await showOne(
    io,
    options.output as Format,
    EVENTS,
    result,
    findings.length === 0
      ? text
      : `${text}${findingTable(findings as readonly object[] as readonly Row[], totalFindings)}`,
  );
  return code;
}

const VERDICTS = {
  0: 'everything in it holds',
  2: 'no root was given',
  10: 'tampered',
  11: 'empty or incomplete',
  12: 'shorter than its witness',
} as const;

function findingTable(findings: readonly Row[], total: number): string {
  const shown = table(
    [
      { head: 'LINE', cell: (row) => row.line },
      { head: 'SEQ', cell: (row) => row.seq },
      { head: 'FIELD', cell: (row) => row.field },
      { head: 'KIND', cell: (row) => row.kind },
      { head: 'PROBLEM', cell: (row) => row.problem },
    ],
    findings,
  );
  return total > findings.length ? `${shown}and ${total - findings.length} more\n` : shown;
}
