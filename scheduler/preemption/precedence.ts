/** Victims remembered; the longest remembered are forgotten first. */
const MAX_REMEMBERED = 100_000;

/**
 * Who left for whom. What was preempted for somebody takes neither that work nor what that one once left for, and so on upwards: the
 * relation has no circles, so that nobody preempts in turns. For if some work were preempted again and again, the highest of it would be so for
 * somebody higher, who would have to be preempted again and again, too.
 */
export class Precedence {
  /** victim → those it left for. */
  readonly #leftFor = new Map<string, Set<string>>();

  left(victim: string, preemptor: string): void {
    const known = this.#leftFor.get(victim) ?? new Set<string>();
    this.#leftFor.delete(victim);
    this.#leftFor.set(victim, known.add(preemptor));
    if (this.#leftFor.size <= MAX_REMEMBERED) return;
    for (const oldest of this.#leftFor.keys()) {
      this.#leftFor.delete(oldest);
      return;
    }
  }

  /** It came to an end of its own, or is not wanted any more. true: there was something to forget. */
  forget(id: string): boolean {
    return this.#leftFor.delete(id);
  }

  leftFor(id: string): readonly string[] {
    return [...(this.#leftFor.get(id) ?? [])].sort();
  }

  /** All that `id` may not preempt. */
  above(id: string): ReadonlySet<string> {
    const above = new Set<string>();
    const open = [id];
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      for (const one of this.#leftFor.get(next) ?? []) {
        if (above.has(one)) continue;
        above.add(one);
        open.push(one);
      }
    }
    return above;
  }

  takeOver(before: Precedence): void {
    for (const [victim, preemptors] of before.#leftFor) this.#leftFor.set(victim, new Set(preemptors));
  }
}
