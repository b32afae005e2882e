/** One field that two documents say differently; undefined: that one does not say it. */
export interface Difference {
  /** Dotted path; members of a list with names go by their name: `flavours.h100.capacity`. */
  readonly field: string;
  readonly from: unknown;
  readonly to: unknown;
}

/** Field by field, in the order of the fields' paths. Values are JSON. */
export function differences(from: unknown, to: unknown, field = ''): readonly Difference[] {
  const before = membersOf(from);
  const after = membersOf(to);
  if (before === undefined || after === undefined)
    return JSON.stringify(from) === JSON.stringify(to) ? [] : [{ field, from, to }];
  const names = [...new Set([...before.keys(), ...after.keys()])].sort();
  const members = names.flatMap((name) =>
    differences(before.get(name), after.get(name), field === '' ? name : `${field}.${name}`),
  );
  return [...orderDifference(from, to, field), ...members];
}

/** A list of named members says something by its order as well: pools are tried by it. */
function orderDifference(from: unknown, to: unknown, field: string): readonly Difference[] {
  if (Array.isArray(from) !== Array.isArray(to)) return [{ field, from, to }];
  if (!Array.isArray(from) || !Array.isArray(to)) return [];
  const [before, after] = [from, to].map((list) => list.map((one) => (one as { name: string }).name));
  const stayed = before?.filter((name) => after?.includes(name)) ?? [];
  const stays = after?.filter((name) => before?.includes(name)) ?? [];
  return stayed.every((name, i) => name === stays[i]) ? [] : [{ field, from: before, to: after }];
}

/** undefined: a plain value, or a list whose order is what it says. */
function membersOf(value: unknown): ReadonlyMap<string, unknown> | undefined {
  if (Array.isArray(value)) {
    const names = value.map((one) => (one as { name?: unknown } | null)?.name);
    const areNamed = names.every((name) => typeof name === 'string') && new Set(names).size === names.length;
    return areNamed && value.length > 0 ? new Map(value.map((one, i) => [names[i] as string, one])) : undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  return new Map(Object.entries(value));
}
