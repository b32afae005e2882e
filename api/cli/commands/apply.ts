import { CHANGES } from '../capacity-shapes.ts';
import { connect } from '../client.ts';
import { EXIT, usage } from '../exit.ts';
import { readDescriptions } from '../files.ts';
import type { Invocation } from '../invocation.ts';
import type { Io } from '../io.ts';
import { type Row, showList, showOne } from '../render.ts';
import { safeJson } from '../text.ts';
import type { Format } from '../values.ts';

export interface Applied extends Row {
  readonly dryRun: boolean;
  readonly changes: readonly (Row & { readonly differences: readonly Row[] })[];
  readonly drainDebt: readonly Row[];
}

/** Everything that the files describe, in the order of what they name, all or none. */
export default async function apply(invocation: Invocation): Promise<number> {
  const { io, options } = invocation;
  const documents: Readonly<Record<string, unknown>>[] = [];
  for (const path of options.file as readonly string[]) documents.push(...(await readDescriptions(io, path)));
  const version = options.ifVersion as string | undefined;
  if (version !== undefined && documents.length !== 1)
    throw usage(`--if-version is of one document, and the files hold ${documents.length}`, 'apply that one by itself');
  const [first] = documents;
  const versions = version === undefined ? {} : { versions: { [keyOf(first ?? {})]: version } };
  const client = await connect(invocation);
  const applied = await client.json<Applied>('POST', `/v1/apply${options.dryRun === true ? '?dryRun=true' : ''}`, {
    body: { documents, ...versions },
  });
  await showApplied(io, options.output as Format, applied);
  if (applied.dryRun) io.progress('nothing was changed');
  return EXIT.ok;
}

/** As the server names a document; one that is none gets its refusal from there. */
function keyOf({ kind, name, division, currency }: Readonly<Record<string, unknown>>): string {
  if (kind === 'Budget') return `Budget/${String(division)}-${String(currency)}`;
  if (kind === 'Scheduling' || kind === 'SigningPolicy') return `${kind}/default`;
  return `${String(kind)}/${String(name)}`;
}

export async function showApplied(io: Io, format: Format, applied: Applied): Promise<void> {
  if (format === 'json' || format === 'yaml') return showOne(io, format, CHANGES, applied);
  const rows = applied.changes.flatMap(({ differences, ...change }): readonly Row[] =>
    format === 'name' || differences.length === 0 || change.change === 'created'
      ? [change]
      : differences.map(({ field, from, to }) => ({ ...change, field, from: shown(from), to: shown(to) })),
  );
  await showList(io, format, CHANGES, rows);
  for (const debt of applied.drainDebt) {
    const owner = debt.division === null ? String(debt.account) : `division ${String(debt.division)}`;
    const where = debt.pool === null ? '' : ` in ${String(debt.pool)}/${String(debt.flavour)}`;
    io.note(
      `drain debt: ${owner} uses ${String(debt.amount)} ${String(debt.unit)}${where} beyond its new limit; each release pays it first`,
    );
  }
}

function shown(value: unknown): unknown {
  return typeof value === 'object' && value !== null ? safeJson(value) : value;
}
