import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { PendingInput, RunningInput } from '../../../../pools/planner-input.ts';
import { QuotaTree } from '../../../../pools/quota-tree.ts';
import { TreeUsage } from '../../../../pools/tree-usage.ts';
import type { CycleResult } from '../../../../scheduler/admission/decision.ts';
import { Planner } from '../../../../scheduler/admission/planner.ts';
import { asRunning, T0, type Tenant, tenants } from '../../../support/planner-worlds.ts';
import { SlowTree } from '../../../support/slow-tree.ts';

/** Drives a planner as the engine does, and keeps its own books of what runs and waits. */
class Driver {
  readonly tenant: Tenant;
  readonly planner: Planner;
  readonly pending = new Map<string, PendingInput>();
  readonly running = new Map<string, RunningInput>();
  readonly asks: ReadonlyMap<string, PendingInput>;
  nowMs = T0;
  preemptions = 0;
  /** work → whom it left for. */
  readonly leftFor = new Map<string, Set<string>>();

  constructor(tenant: Tenant, planner = new Planner(tenant.config)) {
    this.tenant = tenant;
    this.planner = planner;
    this.asks = new Map(tenant.asks.map((ask) => [ask.id, ask]));
  }

  submit(ask: PendingInput): void {
    this.pending.set(ask.id, ask);
    this.planner.addPending(ask);
  }

  cycle(): CycleResult {
    const result = this.planner.cycle(this.nowMs);
    for (const { id } of result.infeasible) this.pending.delete(id);
    for (const { id, podSets } of result.admitted) {
      const ask = this.pending.get(id)!;
      this.pending.delete(id);
      this.running.set(id, asRunning(ask, podSets, this.nowMs));
    }
    for (const { id, for: whom, keptReplicas } of result.preempted) {
      this.preemptions++;
      this.leftFor.set(id, (this.leftFor.get(id) ?? new Set()).add(whom));
      const work = this.running.get(id)!;
      this.running.set(id, { ...work, draining: { for: whom, untilMs: null, toReplicas: keptReplicas } });
    }
    return result;
  }

  end(id: string): void {
    this.running.delete(id);
    this.planner.removeRunning(id);
  }

  /** All that is draining leaves and waits again. */
  leave(): void {
    for (const work of [...this.running.values()]) {
      if (work.draining === null) continue;
      const kept = work.draining.toReplicas ?? 0;
      if (kept > 0) {
        const podSets = work.podSets.map((podSet) => ({ ...podSet, count: kept }));
        const shrunk = { ...work, podSets, draining: null };
        this.running.set(work.id, shrunk);
        this.planner.updateRunning(shrunk);
      } else {
        this.end(work.id);
        this.submit(this.asks.get(work.id)!);
      }
    }
  }

  /** Until nothing changes; undefined: it did not come to rest. */
  settle(most = 400): number | undefined {
    for (let cycles = 1; cycles <= most; cycles++) {
      const { again, admitted } = this.cycle();
      const draining = [...this.running.values()].some((work) => work.draining !== null);
      this.leave();
      if (!draining && !again && admitted.length === 0) return cycles;
    }
    return undefined;
  }

  withdraw(id: string): void {
    this.pending.delete(id);
    this.planner.removePending(id);
  }

  /** The books of a planner that is told this state anew, after so much time. */
  anew(laterMs: number) {
    const fresh = new Driver(this.tenant);
    fresh.nowMs = this.nowMs + laterMs;
    for (const work of this.running.values()) {
      const told = { ...work, leftFor: [...(this.leftFor.get(work.id) ?? [])] };
      fresh.running.set(work.id, told);
      fresh.planner.addRunning(told);
    }
    for (const ask of this.pending.values()) fresh.submit({ ...ask, leftFor: [...(this.leftFor.get(ask.id) ?? [])] });
    fresh.settle();
    return { ...fresh.books(), preemptions: fresh.preemptions };
  }

  books() {
    return {
      running: [...this.running.values()]
        .map(({ id, podSets }) => `${id}:${podSets.map(({ flavour, count }) => `${flavour}*${count}`).join('+')}`)
        .sort(),
      pending: [...this.pending.keys()].sort(),
    };
  }
}

const runs = { numRuns: Number(process.env.MERIT_PLANNER_RUNS ?? 100) };

describe('the quota tree', () => {
  test('says of every node what the formulas say, worked out anew', () => {
    fc.assert(
      fc.property(tenants(10), fc.integer({ min: 0, max: 1 }), ({ config, asks }, pick) => {
        const tree = new QuotaTree(config);
        const usage = new TreeUsage(tree);
        const running: RunningInput[] = [];
        const compare = () => {
          const slow = new SlowTree(config, running);
          for (const node of tree.nodes) {
            for (const [cell, { flavour, resource }] of tree.cells.entries()) {
              // Divisions and groups have different names here.
              expect(usage.usage(node.index, cell)).toBe(slow.usage(node.name, flavour, resource));
              expect(tree.subtree[tree.at(node.index, cell)]).toBe(slow.subtree(node.name, flavour, resource));
              const free = tree.capacity[cell]! - usage.used(cell);
              const available = Math.min(free, slow.available(node.name, flavour, resource));
              expect(usage.available(node.index, cell)).toBe(available);
              if (node.isDivision) expect(usage.bound(node.index, cell).available).toBe(available);
            }
          }
        };
        for (const ask of asks) {
          const flavour = config.flavours[pick]!.id;
          const amount = ask.podSets[0]!.count * ask.podSets[0]!.resources.gpu!;
          usage.charge(tree.division(ask.division)!, { cells: [tree.cellOf(flavour, 'gpu')], amounts: [amount] });
          running.push(asRunning(ask, [{ flavour, count: ask.podSets[0]!.count }], T0));
        }
        compare();
        for (const work of [...running]) {
          const [podSet] = work.podSets;
          const amount = podSet!.count * podSet!.resources.gpu!;
          usage.release(tree.division(work.division)!, {
            cells: [tree.cellOf(podSet!.flavour, 'gpu')],
            amounts: [amount],
          });
          running.splice(running.indexOf(work), 1);
          compare();
        }
      }),
      { numRuns: Math.min(100, runs.numRuns) },
    );
  });
});

describe('a planner', () => {
  test('never lets a node of the tree hold more than it may, whatever comes and goes', () => {
    fc.assert(
      fc.property(tenants(16), fc.array(fc.nat(), { maxLength: 12 }), (tenant, ends) => {
        const driver = new Driver(tenant);
        for (const ask of tenant.asks) driver.submit(ask);
        for (let i = 0; i < 12; i++) {
          driver.cycle();
          expect(new SlowTree(tenant.config, driver.running.values()).overCommitted()).toEqual([]);
          if (i % 3 === 2) driver.leave();
          const ids = [...driver.running.keys()];
          const end = ends[i];
          if (end !== undefined && ids.length > 0 && i % 2 === 1) driver.end(ids[end % ids.length]!);
        }
      }),
      runs,
    );
  });

  test('loses and invents nobody', () => {
    fc.assert(
      fc.property(tenants(16), (tenant) => {
        const driver = new Driver(tenant);
        for (const ask of tenant.asks) driver.submit(ask);
        const never = new Set<string>();
        for (let i = 0; i < 10; i++) {
          for (const { id } of driver.cycle().infeasible) never.add(id);
          driver.leave();
          const all = [...driver.pending.keys(), ...driver.running.keys(), ...never].sort();
          expect(all).toEqual(tenant.asks.map(({ id }) => id).sort());
        }
      }),
      runs,
    );
  });

  test('comes to rest: nobody preempts in turns, in whatever hierarchy', () => {
    fc.assert(
      fc.property(tenants(16), (tenant) => {
        const driver = new Driver(tenant);
        for (const ask of tenant.asks) {
          driver.submit(ask);
          // One after the other, so that late ones find others running.
          driver.cycle();
        }
        expect(driver.settle()).toBeDefined();
      }),
      runs,
    );
  });

  test('plans the same whatever order its state was told in', () => {
    fc.assert(
      fc.property(tenants(16), fc.nat(), (tenant, seed) => {
        const first = new Driver(tenant);
        for (const ask of tenant.asks) first.submit(ask);
        for (let i = 0; i < 4; i++) {
          first.cycle();
          if (i % 2 === 1) first.leave();
        }
        const works = [...first.running.values()];
        const waits = [...first.pending.values()];
        const plans = [0, seed].map((shift) => {
          const planner = new Planner(tenant.config);
          for (const work of shuffled(works, shift)) planner.addRunning(work);
          for (const ask of shuffled(waits, shift)) planner.addPending(ask);
          const { admitted, preempted, infeasible } = planner.cycle(T0);
          const whys = waits.map(({ id }) => planner.explain(id, T0));
          return { admitted, preempted, infeasible, whys };
        });
        expect(plans[1]).toEqual(plans[0]);
      }),
      runs,
    );
  });

  test('explains many at once as each alone', () => {
    fc.assert(
      fc.property(tenants(20), (tenant) => {
        const driver = new Driver(tenant);
        for (const ask of tenant.asks) driver.submit(ask);
        for (let i = 0; i < 4; i++) {
          driver.cycle();
          if (i % 2 === 1) driver.leave();
        }
        const ids = [...driver.pending.keys(), ...driver.running.keys(), 'nobody'];
        const alone = ids.map((id) => driver.planner.explain(id, T0));
        expect(driver.planner.explainAll(ids, T0)).toEqual(alone);
      }),
      runs,
    );
  });

  test('that has a history is as far as one that is told the same state anew', () => {
    fc.assert(
      fc.property(tenants(20), fc.array(fc.nat(), { minLength: 6, maxLength: 20 }), (tenant, steps) => {
        const driver = new Driver(tenant);
        const asks = [...tenant.asks];
        for (const step of steps) {
          const ask = asks.shift();
          if (ask !== undefined) driver.submit(ask);
          driver.cycle();
          const ids = [...driver.running.keys()];
          if (step % 3 === 0 && ids.length > 0) driver.end(ids[step % ids.length]!);
          if (step % 4 === 0) driver.leave();
          const waits = [...driver.pending.keys()];
          if (step % 7 === 0 && waits.length > 0) {
            const id = waits[step % waits.length]!;
            driver.pending.delete(id);
            driver.planner.removePending(id);
          }
        }
        expect(driver.settle()).toBeDefined();
        const fresh = new Driver(tenant);
        for (const work of driver.running.values()) {
          const told = { ...work, leftFor: [...(driver.leftFor.get(work.id) ?? [])] };
          fresh.running.set(work.id, told);
          fresh.planner.addRunning(told);
        }
        for (const ask of driver.pending.values())
          fresh.submit({ ...ask, leftFor: [...(driver.leftFor.get(ask.id) ?? [])] });
        fresh.settle();
        // What rests with a history has nothing left to do: nobody was forgotten where it was parked.
        expect({ ...fresh.books(), preemptions: fresh.preemptions }).toEqual({ ...driver.books(), preemptions: 0 });
      }),
      runs,
    );
  });

  test('with guards, and as time goes by, neither forgets nor wakes too late whom they held back', () => {
    fc.assert(
      fc.property(tenants(20, false, true), fc.array(fc.nat(), { minLength: 6, maxLength: 24 }), (tenant, steps) => {
        const driver = new Driver(tenant);
        const asks = [...tenant.asks];
        for (const step of steps) {
          driver.nowMs += (step % 5) * 30_000;
          const ask = asks.shift();
          if (ask !== undefined) driver.submit(ask);
          driver.cycle();
          const ids = [...driver.running.keys()];
          if (step % 3 === 0 && ids.length > 0) driver.end(ids[step % ids.length]!);
          if (step % 4 === 0) driver.leave();
          const waits = [...driver.pending.keys()];
          if (step % 7 === 0 && waits.length > 0) driver.withdraw(waits[step % waits.length]!);
          if (step % 2 === 0) continue;
          expect(driver.settle()).toBeDefined();
          // Nobody sleeps who could move now, and what comes first by time alone comes no earlier than it says.
          expect(driver.anew(0)).toEqual({ ...driver.books(), preemptions: 0 });
          const wakeMs = driver.planner.nextWakeMs(driver.nowMs) ?? Number.POSITIVE_INFINITY;
          const beforeMs = Math.min(wakeMs, driver.nowMs + 3_600_000) - 1;
          if (beforeMs > driver.nowMs)
            expect(driver.anew(beforeMs - driver.nowMs)).toEqual({ ...driver.books(), preemptions: 0 });
        }
      }),
      runs,
    );
  });

  test('takes no victim that could be spared, and none of a division within its nominal', () => {
    fc.assert(
      fc.property(tenants(16), (tenant) => {
        const driver = new Driver(tenant);
        for (const ask of tenant.asks) {
          driver.submit(ask);
          const before = new Map(driver.running);
          const draining = [...before.values()].some((work) => work.draining !== null);
          const { preempted, admitted } = driver.cycle();
          if (preempted.length > 0 && !draining && admitted.length === 0) judge(tenant, before, preempted);
          driver.leave();
        }
      }),
      runs,
    );
  });
});

/** With every victim gone but one, it does not fit: no asker had one too many. Others' victims were above nominal. */
function judge(tenant: Tenant, before: ReadonlyMap<string, RunningInput>, preempted: CycleResult['preempted']): void {
  const askers = new Set(preempted.map((one) => one.for));
  if (askers.size !== 1) return;
  const asker = tenant.asks.find(({ id }) => askers.has(id))!;
  for (const { id } of preempted) {
    const victim = before.get(id)!;
    if (victim.division === asker.division) continue;
    const slow = new SlowTree(tenant.config, before.values());
    const above = victim.podSets.some(
      ({ flavour }) => slow.usage(victim.division, flavour, 'gpu') > slow.subtree(victim.division, flavour, 'gpu'),
    );
    expect(above, `${id} of ${victim.division} was within its nominal`).toBe(true);
  }
  const flavours = new Set(preempted.flatMap(({ id }) => before.get(id)!.podSets.map(({ flavour }) => flavour)));
  if (flavours.size !== 1) return;
  const [flavour] = flavours;
  const least = (asker.minReplicas ?? asker.podSets[0]!.count) * asker.podSets[0]!.resources.gpu!;
  const full = asker.podSets[0]!.count * asker.podSets[0]!.resources.gpu!;
  const free = (without: readonly CycleResult['preempted'][number][]) => {
    const left = [...before.values()].flatMap((work) => {
      const gone = without.find(({ id }) => id === work.id);
      if (gone === undefined) return [work];
      return gone.keptReplicas === 0 ? [] : [{ ...work, podSets: [{ ...work.podSets[0]!, count: gone.keptReplicas }] }];
    });
    return new SlowTree(tenant.config, left).available(asker.division, flavour!, 'gpu');
  };
  expect(free(preempted)).toBeGreaterThanOrEqual(least);
  const division = tenant.config.divisions.find(({ name }) => name === asker.division)!;
  // Where it may only end within nominal a victim can be needed for that alone.
  if (division.preemption.own !== 'never' || asker.minReplicas !== null) return;
  for (const one of preempted) expect(free(preempted.filter((other) => other !== one))).toBeLessThan(full);
}

function shuffled<T>(items: readonly T[], seed: number): readonly T[] {
  const order = items.map((item, i) => ({ item, key: (i * 7919 + seed * 104_729) % 1009 }));
  return seed === 0 ? items : order.sort((a, b) => a.key - b.key).map(({ item }) => item);
}
