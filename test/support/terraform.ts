import { execFile, execFileSync } from 'node:child_process';
import { globSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

/** Where Terraform's providers lie on a machine that reaches no registry: `HOST/NAMESPACE/NAME` below it, as `terraform providers mirror` writes them. */
const PLUGIN_FOLDERS = [
  ...(process.env.MERIT_TERRAFORM_PLUGINS === undefined ? [] : [process.env.MERIT_TERRAFORM_PLUGINS]),
  join(homedir(), '.terraform.d', 'plugins'),
  '/usr/local/share/terraform/plugins',
  ...globSync('/opt/*/*/hashicorp/aws').map((path) => join(path, '..', '..', '..')),
];

/** Why Terraform cannot be tested here; undefined: it can. */
export const terraformMissing: string | undefined = missing();

function missing(): string | undefined {
  try {
    execFileSync('terraform', ['version'], { stdio: 'ignore', env: terraformEnv() });
  } catch {
    return 'terraform is not on the PATH: install it from developer.hashicorp.com/terraform';
  }
  return undefined;
}

/** Of the folder with AWS' provider. */
export function awsProviderFolder(): string | undefined {
  return PLUGIN_FOLDERS.find((folder) => globSync(join(folder, '*', 'hashicorp', 'aws')).length > 0);
}

/** Without the settings of whoever runs the tests. */
function terraformEnv(): NodeJS.ProcessEnv {
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('TF_')));
  return { ...env, TF_IN_AUTOMATION: '1', CHECKPOINT_DISABLE: '1' };
}

const MOST_BYTES = 256 * 1024 * 1024;

/** Its stdout; throws with what it said. */
export async function terraform(folder: string, ...args: readonly string[]): Promise<string> {
  const run = promisify(execFile)('terraform', [`-chdir=${folder}`, ...args], {
    maxBuffer: MOST_BYTES,
    env: terraformEnv(),
  });
  try {
    return (await run).stdout;
  } catch (error) {
    const { stdout, stderr } = error as { readonly stdout?: string; readonly stderr?: string };
    throw new Error(`terraform ${args.join(' ')}: ${stderr}\n${stdout?.slice(-4_000)}`, { cause: error });
  }
}
