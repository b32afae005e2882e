import { inspect } from 'node:util';
import { assert } from '../core/assert.ts';

const SHOWN = '[secret]';

/** A text that must not be shown: it prints, serialises and inspects as `[secret]`; only `reveal` gives it. */
export class Secret {
  readonly #value: string;

  constructor(value: string) {
    assert(value !== '', 'a secret is not empty');
    this.#value = value;
  }

  /** Call it where the value leaves the process (a header, a connection), and nowhere else. */
  reveal(): string {
    return this.#value;
  }

  toString(): string {
    return SHOWN;
  }

  toJSON(): string {
    return SHOWN;
  }

  [inspect.custom](): string {
    return SHOWN;
  }
}
