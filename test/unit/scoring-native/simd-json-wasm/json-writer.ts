/**
 * Writes JSON as text in any spelling that the grammar allows, out of a seed. fast-check's own arbitraries take 10 ms for a line of it;
 * this takes 20 µs, and fast-check brings the seeds, the edits and the cuts.
 */
export class JsonWriter {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0;
  }

  /** An integer in 0 … n − 1 (mulberry32). */
  nat(n: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % n;
  }

  /** True once in n. */
  once(n: number): boolean {
    return this.nat(n) === 0;
  }

  pick<Item>(items: readonly Item[]): Item {
    return items[this.nat(items.length)]!;
  }

  blank(): string {
    return this.once(6) ? this.pick([' ', '\t', '\r', ' \t ']) : '';
  }

  /** A JSON string for a text: some characters are written as escapes that need not be. */
  string(content: string): string {
    if (!this.once(8)) return JSON.stringify(content);
    const units = Array.from({ length: content.length }, (_, i) => {
      const hex = content.charCodeAt(i).toString(16).padStart(4, '0');
      const plain = JSON.stringify(content[i]).slice(1, -1);
      // Halves of a pair are both escaped or both not: half an escape is a lone surrogate.
      const isHalf = /[\ud800-\udfff]/.test(content[i]!);
      return isHalf || this.once(2) ? `\\u${this.once(2) ? hex : hex.toUpperCase()}` : plain;
    });
    return `"${units.join('')}"`;
  }

  text(): string {
    if (this.once(60)) return this.pick(['constructor', 'prototype', '__proto__', '\ud800', '\0']);
    const characters = 'abcxyzABC0123 ./-_"\\\n\t\u007f\u0080äßж€中\uffff😀𝄞';
    const units = [...characters];
    const length = this.once(3) ? this.nat(50) : this.nat(12);
    return Array.from({ length }, () => units[this.once(3) ? this.nat(units.length) : this.nat(9)]!).join('');
  }

  digits(most: number): string {
    return Array.from({ length: 1 + this.nat(most) }, () => this.nat(10)).join('');
  }

  number(): string {
    const sign = this.once(4) ? '-' : '';
    switch (this.nat(6)) {
      case 0:
        return String(this.nat(2000));
      case 1:
        return sign + (this.nat(2 ** 24) / 10 ** this.nat(9)).toFixed(this.nat(10));
      case 2:
        return sign + this.double();
      case 3:
        return this.pick([
          '0',
          '-0',
          '0.0',
          '-0e5',
          '1e-400',
          '9007199254740993',
          '1E+2',
          '5e-324',
          '1.7976931348623157e308',
        ]);
      case 4:
        return sign + String(this.nat(2 ** 32) / 2 ** 32);
      default: {
        const whole = this.digits(25).replace(/^0+(?=.)/, '');
        const fraction = this.once(2) ? `.${this.digits(25)}` : '';
        const exponent = this.once(2) ? `${this.pick(['e', 'E', 'e+', 'E-', 'e-', 'e0'])}${this.nat(280)}` : '';
        return sign + whole + fraction + exponent;
      }
    }
  }

  /** The text of a finite double of random bits, the shortest or a long one. */
  double(): string {
    const words = Uint32Array.of(this.nat(2 ** 32), this.nat(0x7ff00000));
    const value = new Float64Array(words.buffer)[0]!;
    return this.once(2) ? String(value) : value.toExponential(this.nat(40));
  }

  time(): string {
    const text = new Date(this.nat(2 ** 32) * 60_000 - 62_000_000_000_000).toISOString();
    if (this.once(2)) return text;
    if (this.once(2)) return text.replace(/\d{3}Z$/, `${this.digits(12)}${this.pick(['Z', 'z', '+02:30', '-23:59'])}`);
    return this.pick([
      text.toLowerCase(),
      text.replace(/\.\d+/, ''),
      text.replace(/\.\d+/, '.'),
      text.replace('T', ' '),
      text.replace(/\d\d\./, '60.'),
      text.replace('Z', '+24:00'),
      text.replace('Z', ''),
      ` ${text}`,
    ]);
  }

  object(members: readonly (readonly [string, string])[]): string {
    const texts = members.map(
      ([key, value]) => `${this.blank()}${key}${this.blank()}:${this.blank()}${value}${this.blank()}`,
    );
    return `{${texts.join(',')}${this.blank()}}`;
  }

  /** Any value, nested. */
  value(depth = 0): string {
    const kind = this.nat(depth > 4 ? 6 : 9);
    if (kind < 2) return this.number();
    if (kind < 5) return this.string(this.text());
    if (kind < 6) return this.pick(['true', 'false', 'null']);
    const length = this.nat(4);
    if (kind === 6) {
      const items = Array.from({ length }, () => `${this.blank()}${this.value(depth + 1)}${this.blank()}`);
      return `[${items.join(',')}]`;
    }
    return this.object(Array.from({ length }, () => [this.string(this.text()), this.value(depth + 1)] as const));
  }
}

/** A change of bytes: one is overwritten or put in, some are taken out or repeated. */
export interface Edit {
  readonly at: number;
  readonly kind: 'set' | 'put' | 'cut' | 'repeat';
  readonly byte: number;
}

export function edited(bytes: Uint8Array, edits: readonly Edit[]): Uint8Array {
  let list = Buffer.from(bytes);
  for (const { at, kind, byte } of edits) {
    if (list.length === 0) return list;
    const i = at % list.length;
    if (kind === 'set') list[i] = byte;
    else if (kind === 'put') list = Buffer.concat([list.subarray(0, i), Buffer.of(byte), list.subarray(i)]);
    else if (kind === 'cut') list = Buffer.concat([list.subarray(0, i), list.subarray(i + 1 + (byte % 8))]);
    else list = Buffer.concat([list.subarray(0, i), list.subarray(Math.max(0, i - (byte % 32)))]);
  }
  return list;
}
