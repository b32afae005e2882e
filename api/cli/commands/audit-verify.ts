import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { RefusedInput } from '../../../core/refusal.ts';
import { parseRoots } from '../../../ledger/audit/roots.ts';
import { fileVerifier } from '../../../ledger/audit/verify.ts';
import { CliError, EXIT } from '../exit.ts';
import { readInputFile } from '../files.ts';
import type { Invocation } from '../invocation.ts';
import { facts, type Row, showOne, table } from '../render.ts';
import { EVENTS } from '../shapes.ts';
import type { Format } from '../values.ts';

/** Offline: no server, no network. Exit 0 holds, 10 tampered, 11 empty or incomplete, 2 without roots. */
export default async function auditVerify({ args, options, io, signal }: Invocation): Promise<number> {
  const reading = parseRoots(await readInputFile(io, String(options.roots)));
  if (!reading.ok) throw new RefusedInput([reading.refusal]);
  const verifier = fileVerifier(reading.roots);
  for await (const chunk of await opened(io.cwd, args[0] ?? '', io.stdin, signal)) verifier.push(chunk as Uint8Array);
  const { code, findings, totalFindings, summary } = verifier.end();
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
} as const;

async function opened(
  cwd: string,
  path: string,
  stdin: NodeJS.ReadableStream,
  signal: AbortSignal,
): Promise<AsyncIterable<unknown>> {
  if (path === '-') return stdin;
  const target = resolve(cwd, path);
  const info = await stat(target).catch(() => undefined);
  if (info?.isFile() !== true) {
    throw new CliError(
      EXIT.badValue,
      'file',
      `${JSON.stringify(path)} ${info === undefined ? 'does not exist' : 'is not a regular file'}`,
      { mend: 'check the path' },
    );
  }
  return createReadStream(target, { signal });
}

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
