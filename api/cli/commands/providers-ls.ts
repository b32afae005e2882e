import { resolve } from 'node:path';
import type { Capabilities } from '../../../providers/provider.ts';
import { BUILT_IN_KINDS, installedProviders, loadProvider, manifestOf } from '../../../providers/registry.ts';
import { EXIT } from '../exit.ts';
import type { Invocation } from '../invocation.ts';
import { type Row, type Shape, showList } from '../render.ts';
import type { Format } from '../values.ts';
import { packageVersion } from '../version.ts';

const PROVIDERS: Shape = {
  name: (row) => String(row.name),
  columns: [
    { head: 'KIND', cell: (row) => row.kind },
    { head: 'PACKAGE', cell: (row) => row.name },
    { head: 'VERSION', cell: (row) => row.version },
    { head: 'CONTRACT', cell: (row) => row.contract },
    { head: 'CAPABILITIES', cell: (row) => abilities(row.capabilities as Capabilities | null) },
    { head: 'PROBLEM', cell: (row) => row.problem },
  ],
};

function abilities(capabilities: Capabilities | null): string {
  if (capabilities === null) return '';
  const can = Object.entries(capabilities).filter(([, has]) => has === true);
  return can.map(([name]) => name).join(',') || 'none';
}

/** The kinds that ship with Merit, the installed packages that say they are providers, and those named. One that cannot be loaded is told. */
export default async function providersList({ args, options, io }: Invocation): Promise<number> {
  const installed = await installedProviders();
  const named = args.map((path) => resolve(io.cwd, path));
  const rows = [
    ...BUILT_IN_KINDS.map((kind) => rowOf(kind, 'merit', packageVersion())),
    ...installed.map(({ name, version }) => rowOf(name, name, version)),
    ...named.map(async (path) => {
      const { name, version } = await manifestOf(path);
      return rowOf(path, String(name ?? path), String(version ?? ''));
    }),
  ];
  await showList(io, options.output as Format, PROVIDERS, await Promise.all(rows));
  return EXIT.ok;
}

async function rowOf(target: string, name: string, version: string): Promise<Row> {
  try {
    const { kind, contractVersion, capabilities } = await loadProvider(target, 'any');
    return { kind, name, version, contract: contractVersion, capabilities, problem: null };
  } catch (error) {
    const problem = error instanceof Error ? error.message : String(error);
    return { kind: null, name, version, contract: null, capabilities: null, problem };
  }
}
