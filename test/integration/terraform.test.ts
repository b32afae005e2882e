import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parsePool } from '../../pools/pool-file.ts';
import { documentOf, poolsOfTerraform } from '../../pools/terraform-pools.ts';
import { providerRefusals } from '../../providers/registry.ts';
import { runCli } from '../support/cli.ts';
import { type HttpWorld, httpWorld } from '../support/http-world.ts';
import { awsProviderFolder, terraform, terraformMissing } from '../support/terraform.ts';

const MODULES = fileURLToPath(new URL('../../infra/terraform/modules', import.meta.url));

let home: string;
let modules: string;

beforeAll(() => {
  home = mkdtempSync(join(tmpdir(), 'merit-terraform-'));
  modules = join(home, 'modules');
  cpSync(MODULES, modules, { recursive: true, filter: (path) => !path.includes('.terraform') });
});

afterAll(() => rmSync(home, { recursive: true, force: true }));

/** Runs the tests of a module, and holds what each told Merit to what Merit and its provider take. */
async function expectToTell(folder: string, ...init: readonly string[]): Promise<void> {
  await terraform(folder, 'init', '-input=false', ...init);
  const told = (await terraform(folder, 'test', '-json', '-verbose')).split('\n').filter((line) => line !== '');
  const messages = told.map(
    (line) => JSON.parse(line) as { readonly test_state?: object; readonly test_summary?: object },
  );
  expect(messages.at(-1)?.test_summary).toMatchObject({ status: 'pass', failed: 0, errored: 0, skipped: 0 });
  const states = messages.flatMap(({ test_state: values }) => (values === undefined ? [] : [values]));
  expect(states.length).toBeGreaterThanOrEqual(2);
  for (const values of states) {
    const [pool] = poolsOfTerraform({ format_version: '1.0', values });
    const { provider } = parsePool(documentOf(pool!, undefined));
    expect(await providerRefusals(provider, [])).toEqual([]);
  }
}

describe.skipIf(terraformMissing !== undefined)(`Terraform’s modules (${terraformMissing ?? 'as they are'})`, () => {
  test('are written as terraform fmt writes them', async () => {
    expect(await terraform(modules, 'fmt', '-check', '-recursive', '-diff')).toBe('');
  });

  test('tell pools by one output that merit-pool checks', async () => {
    const folder = join(modules, 'merit-pool');
    await terraform(folder, 'init', '-input=false');
    expect(await terraform(folder, 'test', '-no-color')).toContain('0 failed');
    for (const name of readdirSync(modules).filter((module) => module.startsWith('pool-')))
      expect(readFileSync(join(modules, name, 'main.tf'), 'utf8').match(/^output ".*$/gm)).toEqual([
        'output "merit_pool" {',
      ]);
  });

  // Google's provider cannot be had here: only what Merit is told is tried.
  test('of Vertex AI tell a pool that Merit and its provider take', () =>
    expectToTell(join(modules, 'pool-vertex', 'told')));
});

const aws = awsProviderFolder();
// Nobody has to have the provider: where it is, its modules are tried.
if (terraformMissing === undefined && aws !== undefined)
  describe('a module on AWS, by its mock', () => {
    test.each(['pool-kuberay', 'pool-ray', 'pool-sagemaker'])(
      '%s is valid, and tells a pool that Merit and its provider take',
      (name) => expectToTell(join(modules, name), `-plugin-dir=${aws}`),
    );
  });
else
  console.info(
    'without AWS’ Terraform provider its modules are held to fmt only: `terraform providers mirror FOLDER`, MERIT_TERRAFORM_PLUGINS=FOLDER',
  );

describe.skipIf(terraformMissing !== undefined)('merit pools import', () => {
  let world: HttpWorld;
  const root = () => join(home, 'root');
  const merit = (...args: string[]) => runCli(home, args);
  const configure = (capacity: number) =>
    writeFileSync(
      join(root(), 'main.tf'),
      `module "east" {
  source   = "../modules/merit-pool"
  name     = "east"
  kind     = "local"
  flavours = { h100 = { capacity = ${capacity}, price = { currency = "USD", per_unit_hour = "2.00" } } }
}
output "merit_pool" { value = [module.east.merit_pool] }
`,
    );

  beforeAll(async () => {
    world = await httpWorld();
    await world.app.listen({ host: '127.0.0.1', port: 0 });
    const { port } = world.app.server.address() as AddressInfo;
    writeFileSync(join(home, 'token'), 'token-of-acme-0123456789\n', { mode: 0o600 });
    const server = { url: `http://127.0.0.1:${port}`, tokenFile: join(home, 'token') };
    writeFileSync(join(home, 'server.json'), JSON.stringify(server));
    mkdirSync(root());
  });

  afterAll(() => world?.close());

  test('makes the pool of an applied configuration; the second one says “no changes”', async () => {
    configure(8);
    await terraform(root(), 'init', '-input=false');
    const early = await merit('pools', 'import', '--terraform', 'root');
    expect(early).toMatchObject({ code: 3, out: '' });
    expect(early.err).toContain('nothing was applied there');

    await terraform(root(), 'apply', '-auto-approve', '-input=false');
    const tried = await merit('pools', 'import', '--terraform', 'root', '--dry-run');
    expect(tried.out).toMatch(/Pool +east +created/);
    expect((await merit('pools', 'get', 'east')).code).toBe(9);

    const made = await merit('pools', 'import', '--terraform', 'root');
    expect(made).toMatchObject({ code: 0 });
    expect(made.err).toContain('nobody has a quota in east yet');
    const again = await merit('pools', 'import', '--terraform', 'root');
    expect(again.err).toContain('no changes');
    expect(again.out).toMatch(/Pool +east +unchanged/);
  });

  test('changes what is Terraform’s, and leaves quotas alone', async () => {
    const { file } = JSON.parse((await merit('pools', 'get', 'east', '-o', 'json')).out) as { file: object };
    writeFileSync(join(home, 'east.json'), JSON.stringify({ ...file, quotas: { vision: { h100: 4 } } }));
    expect(await merit('apply', '-f', 'east.json')).toMatchObject({ code: 0 });
    configure(6);
    await terraform(root(), 'apply', '-auto-approve', '-input=false');
    writeFileSync(join(home, 'shown.json'), await terraform(root(), 'show', '-json'));
    const changed = await merit('pools', 'import', '--terraform', 'shown.json', '-o', 'json');
    expect(changed).toMatchObject({ code: 0, err: '' });
    const after = JSON.parse((await merit('pools', 'get', 'east', '-o', 'json')).out) as { file: object };
    expect(after.file).toMatchObject({ flavours: [{ name: 'h100', capacity: 6 }], quotas: { vision: { h100: 4 } } });
    configure(2);
    await terraform(root(), 'apply', '-auto-approve', '-input=false');
    const refused = await merit('pools', 'import', '--terraform', 'root');
    expect(refused).toMatchObject({ code: 3, out: '' });
    expect(refused.err).toContain('grant 4 of h100, which has 2');
  });

  test('says what is wrong where there is no configuration, or no JSON', async () => {
    mkdirSync(join(home, 'empty'));
    expect((await merit('pools', 'import', '--terraform', 'empty')).err).toContain('nothing was applied there');
    writeFileSync(join(home, 'text'), 'no JSON');
    expect((await merit('pools', 'import', '--terraform', 'text')).err).toContain('is not JSON');
    expect((await merit('pools', 'import', '--terraform', 'nowhere')).err).toContain('does not exist');
  });
});
