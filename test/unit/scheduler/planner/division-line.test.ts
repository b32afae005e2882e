import { describe, expect, test } from 'vitest';
import { DivisionLine, MAX_BEFORE } from '../../../../scheduler/admission/division-line.ts';
import type { Slot } from '../../../../scheduler/admission/eta-profile.ts';
import type { Member } from '../../../../scheduler/admission/shape.ts';

const member = (id: string, createdAtMs: number, place: Member['place'] = 'queued'): Member =>
  ({ input: { id, priority: 0, createdAtMs }, place }) as unknown as Member;
const slotAt = (slotMs: number) => ({ slotMs }) as Slot;

/** A line in which whoever is named in `none` is told no time; what it asked for is counted. */
function lineOf(members: readonly Member[], options: { readonly strict?: boolean; readonly none?: string } = {}) {
  const asked: string[] = [];
  const line = new DivisionLine(members, options.strict ?? false, [slotAt(-1)], ({ input }, before) => {
    asked.push(`${input.id} behind ${before.length}`);
    return input.id === options.none ? undefined : slotAt(input.createdAtMs);
  });
  return { line, asked };
}

describe('the line of a division', () => {
  const [a, b, c] = [member('a', 1), member('b', 2), member('c', 3)];
  const slotsBefore = (line: DivisionLine, one: Member) => line.slotsBefore(one)?.map(({ slotMs }) => slotMs);

  test('gives each the slots of those before it, and works out each slot once', () => {
    const { line, asked } = lineOf([c, a, b]);
    expect(slotsBefore(line, c)).toEqual([-1, 1, 2]);
    expect(slotsBefore(line, a)).toEqual([-1]);
    expect(slotsBefore(line, b)).toEqual([-1, 1]);
    expect([a, b, c].map((one) => line.before(one))).toEqual([0, 1, 2]);
    expect(asked).toEqual(['a behind 1', 'b behind 2']);
  });

  test('counts who has a preemption pending before all, and gives it no slot', () => {
    const { line, asked } = lineOf([a, b, member('late', 9, 'holder')]);
    expect(line.before(a)).toBe(1);
    expect(line.before(b)).toBe(2);
    expect(slotsBefore(line, b)).toEqual([-1, 1]);
    expect(asked).toEqual(['a behind 1']);
  });

  test('passes over one that is told no time, unless the queue is strict', () => {
    expect(slotsBefore(lineOf([a, b, c], { none: 'a' }).line, c)).toEqual([-1, 2]);
    const { line } = lineOf([a, b, c], { none: 'b', strict: true });
    expect(slotsBefore(line, b)).toEqual([-1, 1]);
    expect(slotsBefore(line, c)).toBeUndefined();
    expect(slotsBefore(line, c)).toBeUndefined();
  });

  test('tells nobody who has too many before it', () => {
    const many = Array.from({ length: MAX_BEFORE + 2 }, (_, i) => member(String(i), i));
    const { line, asked } = lineOf(many);
    expect(line.slotsBefore(many[MAX_BEFORE]!)).toHaveLength(MAX_BEFORE + 1);
    expect(line.slotsBefore(many[MAX_BEFORE + 1]!)).toBeUndefined();
    expect(asked).toHaveLength(MAX_BEFORE);
  });
});
