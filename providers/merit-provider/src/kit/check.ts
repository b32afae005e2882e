import type { TestBackend } from '../test-backend.ts';
import type { World } from './world.ts';

/** What a test backend may be unable to do. */
export type Need = {
  [Name in keyof TestBackend]-?: undefined extends TestBackend[Name] ? Name : never;
}[keyof TestBackend];

/** One rule of the contract, tried. `run` returns where the provider kept it; throws Broken where it did not. */
export interface Check {
  readonly name: string;
  /** A sentence. */
  readonly rule: string;
  readonly needs?: readonly Need[];
  /** Not beside other checks. */
  readonly alone?: boolean;
  run(world: World): Promise<void>;
}

/** The provider broke the rule; the message says how. */
export class Broken extends Error {
  override name = 'Broken';
}

/** The rule could not be tried here; the message says why. */
export class NotExercised extends Error {
  override name = 'NotExercised';
}

export function hold(condition: boolean, otherwise: string): asserts condition {
  if (!condition) throw new Broken(otherwise);
}

/** A value in a message: short, and on one line. */
export function shown(value: unknown): string {
  const text =
    JSON.stringify(value, (_name, one: unknown) => (typeof one === 'bigint' ? `${one}n` : one)) ?? 'undefined';
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}
