import type { PoolFile } from '../../../pools/pool-file.ts';
import { documentOf, poolsOfTerraform, type TerraformPool } from '../../../pools/terraform-pools.ts';
import { type Client, connect } from '../client.ts';
import { CliError, EXIT } from '../exit.ts';
import type { Invocation } from '../invocation.ts';
import { terraformShown } from '../terraform.ts';
import type { Format } from '../values.ts';
import { type Applied, showApplied } from './apply.ts';

/** Pools as an applied Terraform configuration tells them, all or none. Quotas, windows, machines and whether they take work stay as they are. */
export default async function poolsImport(invocation: Invocation): Promise<number> {
  const { io, options } = invocation;
  const pools = poolsOfTerraform(await terraformShown(invocation, String(options.terraform)));
  const client = await connect(invocation);
  const documents: PoolFile[] = [];
  const versions: Record<string, string> = {};
  for (const pool of pools) {
    const standing = await standingPool(client, pool);
    documents.push(documentOf(pool, standing?.file));
    versions[`Pool/${pool.name}`] = standing?.version ?? '';
  }
  const query = options.dryRun === true ? '?dryRun=true' : '';
  const applied = await client.json<Applied>('POST', `/v1/apply${query}`, { body: { documents, versions } });
  await showApplied(io, options.output as Format, applied);
  if (applied.changes.every(({ change }) => change === 'unchanged')) io.note('no changes');
  else if (applied.dryRun) io.progress('nothing was changed');
  for (const { name } of documents.filter(({ quotas }) => Object.keys(quotas).length === 0))
    io.note(`nobody has a quota in ${name} yet: add quotas to its document and \`merit apply\` it`);
  return EXIT.ok;
}

interface Standing {
  readonly version: string;
  readonly file: PoolFile;
}

async function standingPool(client: Client, { name }: TerraformPool): Promise<Standing | undefined> {
  try {
    return await client.get<Standing>(`/v1/pools/${encodeURIComponent(name)}`);
  } catch (error) {
    if (error instanceof CliError && error.exitCode === EXIT.notFound) return undefined;
    throw error;
  }
}
