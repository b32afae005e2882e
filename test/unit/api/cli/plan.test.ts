import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { planText } from '../../../../api/cli/commands/plan.ts';
import { parseYaml } from '../../../../platform/yaml.ts';
import { planDocument } from '../../../../scheduler/admission/plan-output.ts';
import { runCli } from '../../../support/cli.ts';

const home = mkdtempSync(join(tmpdir(), 'merit-plan-'));
afterAll(() => rmSync(home, { recursive: true, force: true }));

const HEAD = 'apiVersion: merit/v1\nkind: Scenario\nnow: 2026-11-23T10:00:00Z\n';
/** alpha may have 6 of 8, of which beta borrows 4. */
const GOOD = `${HEAD}
groups: [{name: org}]
divisions:
  - {name: alpha, group: org, quota: {od: {gpu: {nominal: 6}}}, preemption: {reclaim: any}}
  - {name: beta, group: org, quota: {od: {gpu: {nominal: 2}}}}
running:
  - {id: r1, division: beta, on: od, resources: {gpu: 6}, leaseEndsAt: 2026-11-23T11:00:00Z}
pending:
  - {id: p1, division: alpha, resources: {gpu: 2}, createdAt: 2026-11-23T09:00:00Z}
  - {id: p2, division: alpha, resources: {gpu: 4}, createdAt: 2026-11-23T09:30:00Z}
`;

function plan(text: string, ...flags: readonly string[]) {
  writeFileSync(join(home, 'scenario.yaml'), text);
  return runCli(home, ['plan', '-f', join(home, 'scenario.yaml'), ...flags]);
}

describe('merit plan', () => {
  test('exits 0 and prints what one cycle decides, data only on stdout', async () => {
    const { code, out, err } = await plan(GOOD, '-o', 'json');
    expect([code, err]).toEqual([0, '']);
    expect(JSON.parse(out)).toEqual({
      admitted: [{ id: 'p1', flavour: 'od', replicas: 1, borrowed: { gpu: 0 } }],
      preempted: [],
      waiting: [
        {
          id: 'p2',
          reasons: [{ code: 'not_head', flavour: null, resource: null, shortfall: null, holders: ['p1'] }],
          eta: '2026-11-23T10:00:00.000Z',
          smallestChange: null,
        },
      ],
    });
  });

  test('says the same as YAML, as a table, and as names', async () => {
    const json = JSON.parse((await plan(GOOD, '-o', 'json')).out) as unknown;
    expect(parseYaml((await plan(GOOD, '-o', 'yaml')).out)).toEqual({ ok: true, value: json });
    expect((await plan(GOOD, '-o', 'name')).out.trim()).toBe('p1');
    const table = (await plan(GOOD)).out;
    expect(table.split('\n')[0]).toMatch(/^ID +DECISION +FLAVOUR +REPLICAS +ETA +WHY/);
    expect(table).toMatch(/^p1 +admit +od +1/m);
    expect(table).toMatch(/^p2 +wait .*not_head: p1 is the head of alpha/m);
  });

  test('--until-stable goes on until nothing changes, and what was preempted waits again', async () => {
    const { code, out } = await plan(GOOD, '--until-stable', '-o', 'json');
    expect(code).toBe(0);
    const { admitted, preempted, waiting, cycles } = JSON.parse(out) as Record<string, { id: string }[]>;
    expect(admitted!.map(({ id }) => id)).toEqual(['p1', 'p2']);
    expect(preempted).toEqual([{ id: 'r1', for: 'p2', how: 'evict', keptReplicas: 0 }]);
    expect(waiting!.map(({ id }) => id)).toEqual(['r1']);
    expect(cycles).toBeGreaterThan(2);
  });

  test('exits 0 with an empty plan for a scenario in which nothing waits', async () => {
    const { code, out } = await plan(HEAD, '-o', 'json');
    expect([code, JSON.parse(out)]).toEqual([0, { admitted: [], preempted: [], waiting: [] }]);
  });

  test('exits 3 for a field that is wrong, and names it with its mend', async () => {
    const { code, out, err } = await plan(GOOD.replace('reclaim: any', 'reclaim: always'), '-o', 'json');
    expect([code, out]).toEqual([3, '']);
    expect(err).toContain('divisions.0.preemption.reclaim');
    const lease = await plan(GOOD.replace('resources: {gpu: 2}', 'resources: {gpu: 2}, lease: 1 hour'));
    expect(lease.code).toBe(3);
    expect(lease.err).toContain('pending.0.lease');
    expect(lease.err).toContain('write 30s, 5m or 1h');
  });

  test('tells of all fields that are wrong, not of the first only', async () => {
    const text = GOOD.replace('group: org, quota', 'group: nobody, quota').replace('on: od', 'on: ods');
    const { code, err } = await plan(text);
    expect(code).toBe(3);
    expect(err).toContain('divisions.0.group');
    expect(err).toContain('running.0.on');
  });

  test('tells a state that came again as a cycle, in every format', () => {
    const made = { admitted: [], preempted: [], waiting: [], cycles: 7, cycle: { from: 3, length: 4 } };
    expect(planDocument(made, true)).toMatchObject({ cycles: 7, cycle: { from: 3, length: 4 } });
    expect(planText(made, false)).toContain('the plan repeats itself every 4 cycles from cycle 3 on');
    expect(planText({ ...made, cycle: null }, false)).not.toContain('repeats');
  });

  test('exits 3 for what is no YAML, and says where', async () => {
    const { code, out, err } = await plan(`${HEAD}divisions: [{name: alpha\n`);
    expect([code, out]).toEqual([3, '']);
    expect(err).toMatch(/line \d+|at \d+:\d+|scenario\.yaml/);
  });

  test('exits 3 for a document of another kind', async () => {
    const { code, err } = await plan('apiVersion: merit/v1\nkind: Pool\nname: p\n');
    expect(code).toBe(3);
    expect(err).toContain('kind');
  });

  test('exits 3 for a file that is not there, with its path', async () => {
    const { code, err } = await runCli(home, ['plan', '-f', join(home, 'nowhere.yaml')]);
    expect([code, err]).toEqual([3, expect.stringContaining('nowhere.yaml')]);
  });
});
