import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runCli } from '../support/cli.ts';
import { type HttpWorld, httpWorld } from '../support/http-world.ts';

let world: HttpWorld;
let home: string;

beforeAll(async () => {
  world = await httpWorld();
  await world.app.listen({ host: '127.0.0.1', port: 0 });
  home = mkdtempSync(join(tmpdir(), 'merit-quotas-'));
  const { port } = world.app.server.address() as AddressInfo;
  writeFileSync(join(home, 'token'), 'token-of-acme-0123456789\n', { mode: 0o600 });
  writeFileSync(
    join(home, 'server.json'),
    JSON.stringify({ url: `http://127.0.0.1:${port}`, tokenFile: join(home, 'token') }),
  );
  file('pool.json', JSON.stringify(POOL));
  file('tree.yaml', TREE);
});

afterAll(async () => {
  await world?.close();
  rmSync(home, { recursive: true, force: true });
});

const POOL = {
  apiVersion: 'merit/v1',
  kind: 'Pool',
  name: 'east',
  provider: { kind: 'local' },
  flavours: [{ name: 'h100', resource: 'gpu', capacity: 8, price: { currency: 'USD', perUnitHour: '2.00' } }],
  quotas: { vision: { h100: 4 }, speech: { h100: 2 } },
};
const TREE = `# What needs what is in no order.
---
apiVersion: merit/v1
kind: Division
name: vision
group: org
---
apiVersion: merit/v1
kind: Group
name: org
---
apiVersion: merit/v1
kind: PriorityClass
name: urgent
value: 500
---
apiVersion: merit/v1
kind: Budget
division: vision
currency: USD
limit: "100.00"
period: month
---
`;

function file(name: string, text: string): string {
  writeFileSync(join(home, name), text);
  return name;
}

const merit = (...args: string[]) => runCli(home, args);

/** A table's rows without their spaces. */
const rows = (out: string) =>
  out
    .trim()
    .split('\n')
    .map((line) => line.split(/ {2,}/).join(' | '));

describe('merit apply', () => {
  test('tries and applies the documents of several files together', async () => {
    const tried = await merit('apply', '-f', 'tree.yaml', '-f', 'pool.json', '--dry-run');
    expect([tried.code, tried.err]).toEqual([0, '']);
    expect(await world.count('quota_documents')).toBe(0);
    const done = await merit('apply', '-f', 'tree.yaml', '-f', 'pool.json', '-o', 'name');
    expect([done.code, done.err, done.out.trim().split('\n')]).toEqual([
      0,
      '',
      ['Group/org', 'Division/vision', 'PriorityClass/urgent', 'Pool/east', 'Budget/vision-USD'],
    ]);
    const changed = file(
      'pool-8.json',
      JSON.stringify({ ...POOL, quotas: { vision: { h100: 4 }, speech: { h100: 4 } } }),
    );
    const differs = await merit('apply', '-f', changed, '--dry-run');
    expect(rows(differs.out)[1]).toBe('Pool | east | replaced | 1 | quotas.speech.h100 | 2 | 4');
  });

  test('is 5 where the document is at another version, 3 where one is wrong, 2 where the version is of none', async () => {
    const urgent = file('urgent.yaml', 'apiVersion: merit/v1\nkind: PriorityClass\nname: urgent\nvalue: 900\n');
    const stale = await merit('apply', '-f', urgent, '--if-version', '1000000');
    expect([stale.code, stale.out]).toEqual([5, '']);
    expect(stale.err).toContain('PriorityClass/urgent was changed');
    const wrong = await merit('apply', '-f', file('wrong.yaml', 'kind: Group\nname: org\nsize: 3\n'));
    expect([wrong.code, wrong.out]).toEqual([3, '']);
    expect(wrong.err).toContain('documents.0.size');
    expect(wrong.err).toContain('documents.0.apiVersion');
    const which = await merit('apply', '-f', urgent, '-f', 'pool.json', '--if-version', '1');
    expect(which.code).toBe(2);
  });

  test.each([
    ['G02: an empty file', '', 'describes nothing'],
    ['G04: a tab', 'kind:\n\tGroup: 1\n', 'line 2, column 1'],
    ['G06: a tag of its own, in the second document', 'kind: Group\n---\na: !!js/function x\n', 'line 3, column 4'],
    ['G08: a number that readers take differently', 'kind: Pool\n---\ncapacity: 010\n', 'line 3, column 11'],
    ['a list that is no document', '- [1]\n', 'is not an object'],
  ])('%s is 3', async (_row, text, told) => {
    const { code, out, err } = await merit('apply', '-f', file('bad.yaml', text));
    expect([code, out]).toEqual([3, '']);
    expect(err).toContain(told);
  });

  test('C13: a file that is missing is 3, and no other is applied', async () => {
    const { code, err } = await merit('apply', '-f', 'pool-8.json', '-f', 'none.yaml');
    expect(code).toBe(3);
    expect(err).toContain('none.yaml');
  });
});

describe('what is declared is seen', () => {
  test.each([
    ['groups', 'NAME | PARENT | WEIGHT', 'org | – | 1'],
    ['divisions', 'NAME | GROUP | WEIGHT | QUEUEING', 'speech | – | 1 | best-effort'],
    ['priorities', 'NAME | VALUE', 'urgent | 500'],
    ['budgets', 'DIVISION | CURRENCY | LIMIT | PERIOD', 'vision | USD | 100.00 | month | 0.00 | 0.00 | 100.00'],
    ['quotas', 'OWNER | KIND | POOL', 'vision | quota | east | h100 | gpu | 4'],
    ['pools', 'NAME | PROVIDER | STATE', 'east | local | open'],
  ])('by merit %s ls', async (noun, head, row) => {
    const { code, out, err } = await merit(noun, 'ls');
    expect([code, err]).toEqual([0, '']);
    expect(rows(out)[0]).toContain(head);
    expect(
      rows(out).some((line) => line.startsWith(row)),
      out,
    ).toBe(true);
  });

  test('one by one by get, and 9 where there is none', async () => {
    for (const [noun, name] of [
      ['groups', 'org'],
      ['divisions', 'vision'],
      ['priorities', 'urgent'],
      ['budgets', 'vision'],
    ] as const) {
      const { code, out } = await merit(noun, 'get', name, '-o', 'json');
      expect([noun, code, JSON.parse(out).file.apiVersion]).toEqual([noun, 0, 'merit/v1']);
      expect((await merit(noun, 'get', 'nothing')).code).toBe(9);
    }
    const quotas = await merit('quotas', 'get', 'org', '-o', 'json');
    // What nobody has of 8 is the root's, with what vision lends it.
    expect(JSON.parse(quotas.out)).toMatchObject([{ kind: 'group', group: 'org', nominal: '0', quota: '6' }]);
    expect((await merit('quotas', 'get', 'nothing')).code).toBe(9);
  });

  test('an old budget file and an old pool file are applied as ever', async () => {
    const budget = 'apiVersion: merit/v1\nkind: Budget\ndivision: vision\ncurrency: USD\nlimit: "70.00"\n';
    const set = await merit('quotas', 'apply', '-f', file('budget.yaml', budget), '-o', 'json');
    expect([set.code, JSON.parse(set.out).limit]).toEqual([0, '70.00']);
    const pool = await merit('pools', 'apply', '-f', 'pool.json', '-o', 'json');
    expect([pool.code, JSON.parse(pool.out).name]).toEqual([0, 'east']);
  });
});

describe('merit pools', () => {
  test('C20: drain without a terminal needs --yes; cordon and uncordon do not', async () => {
    const asked = await merit('pools', 'drain', 'east');
    expect([asked.code, asked.out]).toEqual([2, '']);
    expect(JSON.parse((await merit('pools', 'get', 'east', '-o', 'json')).out).state).toBe('open');
    const drained = await merit('pools', 'drain', 'east', '--yes', '-o', 'json');
    expect([drained.code, JSON.parse(drained.out).state]).toEqual([0, 'draining']);
    expect(JSON.parse((await merit('pools', 'uncordon', 'east', '-o', 'json')).out).state).toBe('open');
    expect(JSON.parse((await merit('pools', 'cordon', 'east', '-o', 'json')).out).state).toBe('cordoned');
    expect((await merit('pools', 'cordon', 'nothing')).code).toBe(9);
  });
});

describe('rm', () => {
  test('removes what nothing rests on, after --yes; 5 says what does, 9 that there is none', async () => {
    const asked = await merit('priorities', 'rm', 'urgent');
    expect([asked.code, asked.err]).toEqual([2, expect.stringContaining('--yes')]);
    const tried = await merit('priorities', 'rm', 'urgent', '--dry-run', '-o', 'json');
    expect(JSON.parse(tried.out)).toMatchObject({ dryRun: true, changes: [{ name: 'urgent', change: 'removed' }] });
    const stale = await merit('priorities', 'rm', 'urgent', '--yes', '--if-version', '1000000');
    expect(stale.code).toBe(5);
    expect(await merit('priorities', 'rm', 'urgent', '--yes', '-o', 'name')).toMatchObject({
      code: 0,
      out: 'PriorityClass/urgent\n',
    });
    expect((await merit('priorities', 'rm', 'urgent', '--yes')).code).toBe(9);
    const used = await merit('groups', 'rm', 'org', '--yes');
    expect([used.code, used.err]).toEqual([5, expect.stringContaining('Division vision names org')]);
    expect((await merit('budgets', 'rm', 'vision', '--yes', '--currency', 'USD')).code).toBe(0);
  });

  test('of scheduling, of which there is one, needs no name', async () => {
    expect((await merit('scheduling', 'get')).code).toBe(9);
    const scheduling = 'apiVersion: merit/v1\nkind: Scheduling\nfairSharing: {enabled: true}\n';
    expect((await merit('apply', '-f', file('scheduling.yaml', scheduling))).code).toBe(0);
    const { out } = await merit('scheduling', 'get', '-o', 'json');
    expect(JSON.parse(out)).toMatchObject({ name: 'default', file: { fairSharing: { enabled: true } } });
    expect((await merit('scheduling', 'rm', '--yes')).code).toBe(0);
    expect((await merit('scheduling', 'get')).code).toBe(9);
  });
});
