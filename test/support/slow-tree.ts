import type { PlannerConfig, RunningInput } from '../../pools/planner-input.ts';

/**
 * The quota tree as docs/scheduling.md writes it, worked out anew from the leaves at every question: the planner's tree is judged by it. It
 * shares nothing with pools/quota-tree.ts.
 */
export class SlowTree {
  readonly #config: PlannerConfig;
  readonly #used: (division: string, flavour: string, resource: string) => number;

  constructor(config: PlannerConfig, running: Iterable<RunningInput>) {
    this.#config = config;
    const works = [...running];
    this.#used = (division, flavour, resource) =>
      works
        .filter((work) => work.division === division)
        .flatMap((work) => work.podSets)
        .filter((podSet) => podSet.flavour === flavour)
        .reduce((sum, { count, resources }) => sum + count * (resources[resource] ?? 0), 0);
  }

  #node(name: string) {
    const division = this.#config.divisions.find((one) => one.name === name);
    if (division !== undefined) return { parent: division.group, quota: division.quota };
    const group = this.#config.groups.find((one) => one.name === name)!;
    return { parent: group.parent, quota: group.quota };
  }

  #children(name: string): readonly string[] {
    return [
      ...this.#config.groups.filter(({ parent }) => parent === name).map((group) => group.name),
      ...this.#config.divisions.filter(({ group }) => group === name).map((division) => division.name),
    ];
  }

  #quota(name: string, flavour: string, resource: string) {
    const quota = this.#node(name).quota.find((one) => one.flavour === flavour && one.resource === resource);
    return {
      nominal: quota?.nominalMilli ?? 0,
      borrow: quota?.borrowMilli ?? Number.POSITIVE_INFINITY,
      lend: quota?.lendMilli ?? Number.POSITIVE_INFINITY,
    };
  }

  subtree(name: string, flavour: string, resource: string): number {
    const own = this.#quota(name, flavour, resource).nominal;
    return this.#children(name).reduce((sum, child) => sum + this.#lent(child, flavour, resource), own);
  }

  #lent(name: string, flavour: string, resource: string): number {
    return this.subtree(name, flavour, resource) - this.#local(name, flavour, resource);
  }

  #local(name: string, flavour: string, resource: string): number {
    return Math.max(0, this.subtree(name, flavour, resource) - this.#quota(name, flavour, resource).lend);
  }

  usage(name: string, flavour: string, resource: string): number {
    if (this.#config.divisions.some((division) => division.name === name)) return this.#used(name, flavour, resource);
    return this.#children(name).reduce(
      (sum, child) => sum + Math.max(0, this.usage(child, flavour, resource) - this.#local(child, flavour, resource)),
      0,
    );
  }

  available(name: string, flavour: string, resource: string): number {
    const usage = this.usage(name, flavour, resource);
    const { parent } = this.#node(name);
    const subtree = this.subtree(name, flavour, resource);
    if (parent === null) return subtree - usage;
    const local = this.#local(name, flavour, resource);
    const lent = subtree - local;
    const { borrow } = this.#quota(name, flavour, resource);
    return (
      Math.max(0, local - usage) +
      Math.min(this.available(parent, flavour, resource), lent - Math.max(0, usage - local) + borrow)
    );
  }

  /** Nodes that hold more than they may. */
  overCommitted(): readonly string[] {
    const names = [...this.#config.groups, ...this.#config.divisions].map(({ name }) => name);
    return names.flatMap((name) =>
      this.#config.flavours.flatMap(({ id }) => {
        const usage = this.usage(name, id, 'gpu');
        const { parent } = this.#node(name);
        const subtree = this.subtree(name, id, 'gpu');
        const most = parent === null ? subtree : subtree + this.#quota(name, id, 'gpu').borrow;
        return usage > most ? [`${name} uses ${usage} of ${most} ${id}`] : [];
      }),
    );
  }
}
