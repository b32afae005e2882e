import { parseSuite, type Suite } from '../../core/suite.ts';

/**
 * Report lines of every kind that a kernel could trip over, from a seed: all the ways in which JSON can write the same thing, values at and
 * beyond every limit, repeats and conflicts, and bytes that somebody broke.
 */

export type Random = () => number;

export const MILL_SUITES: readonly Suite[] = [
  parseSuite({
    apiVersion: 'merit/v1',
    kind: 'Suite',
    name: 'first',
    metrics: {
      accuracy: { direction: 'higher', floor: 0, ceil: 1, valid: [0, 1], required: true },
      big: { direction: 'higher', scale: 0, floor: 0, ceil: 1 },
      constructor: { direction: 'higher', floor: 0, ceil: 1 },
      ms: { direction: 'lower', kind: 'quantile', quantile: 0.95, scale: 3, floor: 1000, ceil: 100 },
      solved: { direction: 'higher', kind: 'binary', floor: 0, ceil: 1 },
      tiny: { direction: 'higher', scale: 12, floor: 0, ceil: 1 },
    },
  }),
  parseSuite({
    apiVersion: 'merit/v1',
    kind: 'Suite',
    name: 'second.suite-with_a_longer_name',
    metrics: {
      ms: { direction: 'lower', scale: 0, floor: 1000, ceil: 100, valid: [-5, 1e9] },
      ...Object.fromEntries(
        Array.from({ length: 40 }, (_, i) => [`m.${i}`, { direction: 'higher', scale: i % 13, floor: 0, ceil: 1 }]),
      ),
    },
  }),
];

const METRIC_NAMES = [
  ...[
    'accuracy',
    'big',
    'ms',
    'solved',
    'tiny',
    'other',
    'x'.repeat(64),
    'x'.repeat(15),
    'x'.repeat(16),
    'constructor',
  ],
  ...Array.from({ length: 40 }, (_, i) => `m.${i}`),
];
const MODELS = ['m', 'model-a', 'model-b', 'ranker_v12.4-2026-11-23', 'y'.repeat(64), 'z'.repeat(17)];
const SUITES = ['first', 'first', 'first', 'second.suite-with_a_longer_name', 'elsewhere'];
const DAY_MS = 86_400_000;
export const MILL_AT_MS = Date.UTC(2026, 10, 23, 12, 7, 13, 456);

export class ReportMill {
  readonly #random: Random;
  readonly #told: string[] = [];
  /** The report being made holds nothing odd: half of them, so that enough are accepted. */
  #calm = false;

  constructor(random: Random) {
    this.#random = random;
  }

  #one<Value>(values: readonly Value[]): Value {
    return values[Math.floor(this.#random() * values.length)]!;
  }

  #below(n: number): number {
    return Math.floor(this.#random() * n);
  }

  #chance(share: number): boolean {
    return this.#random() < share;
  }

  /** One line, without its line feed. */
  line(): Buffer {
    const kind = this.#random();
    if (kind < 0.03)
      return Buffer.from(this.#one(['', ' ', '\t\r', '{}', 'null', '[]', '"x"', '{', '\u{feff}{}', '1']));
    if (kind < 0.12 && this.#told.length > 0) return this.#repeat();
    const line = this.#report();
    if (this.#told.length < 50) this.#told.push(line);
    return kind < 0.3 ? this.#broken(Buffer.from(line)) : Buffer.from(line);
  }

  /** A line told before, as it was, or with other words for the same, or with other content. */
  #repeat(): Buffer {
    const line = this.#one(this.#told);
    const kind = this.#random();
    if (kind < 0.4) return Buffer.from(line);
    try {
      const report = JSON.parse(line) as Record<string, unknown>;
      if (kind < 0.6) report.sampleSize = 1 + this.#below(5);
      const members = Object.entries(report).sort(() => this.#random() - 0.5);
      return Buffer.from(
        JSON.stringify(Object.fromEntries(members), null, this.#chance(0.3) ? 1 : undefined).replaceAll('\n', ' '),
      );
    } catch {
      return Buffer.from(line);
    }
  }

  #broken(bytes: Buffer): Buffer {
    const kind = this.#below(6);
    const at = this.#below(bytes.length);
    if (kind === 0) return bytes.subarray(0, at);
    if (kind === 1) bytes[at] = this.#below(256);
    else if (kind === 2)
      bytes[at] = this.#one([
        0, 0x22, 0x5c, 0x2c, 0x7d, 0x7b, 0x5b, 0x5d, 0x3a, 0x20, 0x30, 0x2d, 0x2e, 0x65, 0xc3, 0x0d,
      ]);
    else if (kind === 3) return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1)]);
    else if (kind === 4) return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at, at + 9), bytes.subarray(at)]);
    else return Buffer.concat([bytes, Buffer.from(this.#one([' ', '}', ',', 'x', '\r', ' \t']))]);
    return Buffer.from(bytes.map((byte) => (byte === 0x0a ? 0x20 : byte)));
  }

  #report(): string {
    this.#calm = this.#chance(0.5);
    const wild = !this.#calm && this.#chance(0.4);
    const space = this.#chance(0.7) ? '' : this.#one([' ', '  ', '\t', ' \r']);
    const members: [string, string][] = [
      ['"schemaVersion"', wild ? this.#one(['1', '1', '1.0', '1e0', '10e-1', '2', '"1"', '01', '1.5', 'null']) : '1'],
      ['"reportId"', this.#name(wild, this.#ids())],
      ['"producer"', this.#name(wild, ['ci-eval', 'p', 'q'.repeat(64), 'job-01jd8m'])],
      ['"model"', this.#name(wild, MODELS)],
      ['"suite"', this.#name(wild, SUITES)],
      ['"observedAt"', this.#instant(wild)],
      ['"metrics"', this.#metrics(wild, space)],
    ];
    if (this.#chance(0.8)) members.push(['"sampleSize"', this.#weight(wild)]);
    if (this.#chance(0.6)) members.push(['"labels"', this.#labels(wild, space)]);
    if (this.#chance(0.2)) for (let i = this.#below(4); i >= 0; i--) members.push([this.#key(), this.#other(0)]);
    if (wild && this.#chance(0.3)) members.splice(this.#below(members.length), 1);
    if (wild && this.#chance(0.1)) members.push(this.#one(members));
    if (this.#chance(0.3)) members.sort(() => this.#random() - 0.5);
    return this.#object(members, space);
  }

  #object(members: readonly (readonly [string, string])[], space: string): string {
    const blank = () => (space === '' || this.#chance(0.5) ? '' : space);
    const texts = members.map(
      ([key, value]) => `${blank()}${key}${blank()}:${space}${value}${this.#chance(0.1) ? space : ''}`,
    );
    return `${blank()}{${texts.join(`,${blank()}`)}${blank()}}${blank()}`;
  }

  /** Mostly fresh ones. */
  #ids(): readonly string[] {
    if (this.#chance(0.1)) return ['i'.repeat(64), '.', 'again'];
    return [`r${this.#below(1e9)}`, `01JD8M${this.#below(1e9)}-${'x'.repeat(this.#below(45))}`];
  }

  #name(wild: boolean, names: readonly string[]): string {
    if (!wild || this.#chance(0.7)) return `"${this.#one(names)}"`;
    return this.#one([
      '""',
      `"${'n'.repeat(65)}"`,
      '"a b"',
      '"é"',
      '"\\u0061"',
      '"a\\/b"',
      '5',
      'null',
      '"a"',
      '"_.-Z09"',
      '"a"x',
    ]);
  }

  #instant(wild: boolean): string {
    const back = this.#one([1000, 60_000, 3_600_000, DAY_MS, 9 * DAY_MS, 400 * DAY_MS]);
    const at = new Date(MILL_AT_MS + (this.#chance(0.1) ? 1 : -1) * this.#below(back)).toISOString();
    const kind = this.#random();
    if (kind < 0.6) return `"${at}"`;
    if (kind < 0.7) return `"${at.slice(0, 19)}Z"`;
    if (kind < 0.8)
      return `"${at.slice(0, 23)}${this.#below(1e6)}${this.#one(['z', '+02:00', '-11:30', '+23:59', '-00:00'])}"`;
    if (kind < 0.85) return `"${at.replace('T', 't')}"`;
    if (!wild)
      return `"${this.#one(['0000-01-01T00:00:00Z', '9999-12-31T23:59:59.999Z', '1969-12-31T23:59:59.5Z', '2024-02-29T00:00:00Z'])}"`;
    return this.#one([
      ...[
        '"2026-11-23T10:11:60Z"',
        '"2026-11-23T10:11:12"',
        '"2026-11-23"',
        '"2026-02-29T00:00:00Z"',
        '17',
        'null',
        '""',
        '"yesterday"',
      ],
      ...[
        '"2026-11-23T24:00:00Z"',
        '"2026-11-23T10:11:12+24:00"',
        '"2026-11-23T10:11:12.Z"',
        '"2026-13-01T00:00:00Z"',
        '"\\u0032026-11-23T10:11:12Z"',
      ],
      `"2026-11-23T10:11:12.${'1'.repeat(60)}Z"`,
    ]);
  }

  #weight(wild: boolean): string {
    if (!wild) return String(this.#one([1, 2, 512, 2 ** 20, 1 + this.#below(2 ** 20)]));
    return this.#one(['0', '-1', '1.5', '1048577', '5.0', '1e3', '1048576.0', '"1"', 'null', '1e300', '00']);
  }

  #metrics(wild: boolean, space: string): string {
    if (wild && this.#chance(0.1))
      return this.#one(['{}', '[]', 'null', '{ }', '{"":1}', '{"a b":1}', '{"é":1}', '{"a":"1"}', '{"__proto__":1}']);
    const count = this.#chance(0.02) ? 250 + this.#below(12) : 1 + this.#below(this.#chance(0.2) ? 30 : 5);
    const members = new Map<string, string>();
    for (let i = 0; i < count; i++) {
      const name = count > 40 ? `n${i}` : this.#one(METRIC_NAMES);
      members.set(`"${name}"`, this.#value(name, wild));
    }
    return this.#object([...members], space).trim();
  }

  #value(name: string, wild: boolean): string {
    // Below 1 with no scale beyond the range.
    if (this.#calm && name !== 'ms' && name !== 'solved') return this.#random().toFixed(this.#below(8));
    if (name === 'accuracy' || name === 'solved')
      return wild ? this.#number(true) : this.#one([String(this.#random()), '0', '1', '1.0', '0.5', '0.8123']);
    return this.#number(wild && this.#chance(0.3));
  }

  #number(wild: boolean): string {
    const sign = this.#chance(0.2) ? '-' : '';
    const kind = this.#below(wild ? 14 : 10);
    if (kind === 0) return sign + String(this.#below(1000));
    if (kind === 1) return sign + (this.#random() * 1000).toFixed(1 + this.#below(6));
    if (kind === 2) return sign + String(this.#random());
    if (kind === 3)
      return (
        sign +
        this.#one(['0', '0.0', '0e0', '1e2', '1E+2', '1e-7', '0.000001', '0.0000001', '1.10', '10e-1', '1e5', '5e-324'])
      );
    if (kind === 4)
      return (
        sign +
        this.#one([
          '1099511627776',
          '1099511627.776',
          '1099511627776.4',
          '1099511627776.5',
          '1099511627775.5',
          '1.0995116277760005',
        ])
      );
    if (kind === 5) return sign + (this.#random() * 10 ** (this.#below(20) - 8)).toPrecision(1 + this.#below(17));
    if (kind === 6)
      return (
        sign +
        this.#one([
          '9007199254740991',
          '9007199254740993',
          '123456789012345678',
          '100000000000000000000',
          '0.1000000000000000055511151231257827',
        ])
      );
    if (kind === 7)
      return sign + this.#one(['0.5', '1.5', '2.5', '0.0000005', '0.0000015', '0.4999999999999999', '4.35', '1.005']);
    if (kind < 10) return sign + String(Math.round(this.#random() * 1e6) / 1e4);
    return (
      sign +
      this.#one([
        '1e400',
        '01',
        '1.',
        '.5',
        '1e',
        '+1',
        'NaN',
        'Infinity',
        '-',
        '1e308',
        '1.7976931348623157e308',
        '2.2250738585072014e-308',
        '1e21',
        '123e-30',
      ])
    );
  }

  #labels(wild: boolean, space: string): string {
    if (wild && this.#chance(0.1)) return this.#one(['{}', '[]', 'null', '{"a":1}', '"x"', '{"a":null}']);
    const members = new Map<string, string>();
    for (let i = this.#below(6); i > 0; i--) members.set(this.#key(), this.#text());
    return this.#object([...members], space).trim();
  }

  #key(): string {
    if (this.#calm || this.#chance(0.8))
      return this.#one([
        '"commit"',
        '"a"',
        '"b"',
        '"B"',
        '"aa"',
        '"image"',
        '"note"',
        '""',
        '"10"',
        '"9"',
        '"key with blanks"',
      ]);
    return this.#one([
      '"ключ"',
      '"\u{1f600}"',
      '"\u{ffff}"',
      '"\\u0061"',
      '"\\n"',
      '"\\"q"',
      `"${'k'.repeat(70)}"`,
      '"__proto__"',
      '"constructor"',
      '"prototype"',
      '"Ω"',
    ]);
  }

  #text(): string {
    if (this.#calm || this.#chance(0.6))
      return `"${'abcdefghijklmnopqrstuvwxyz /:@#'.repeat(4).slice(0, this.#below(80))}"`;
    return this.#one([
      '"é"',
      '"\u{1f600}"',
      '"\\""',
      '"\\\\"',
      '"\\n\\t\\b\\f\\r"',
      '"\\/"',
      '"\\u00e9"',
      '"\\u001f"',
      '"\\ud83d\\ude00"',
      '"\\ud83d"',
      '"\u{7f}"',
      '"\u{2028}"',
      '"a\\u0000"',
    ]);
  }

  /** Any value, some levels deep. */
  #other(depth: number): string {
    const kind = this.#random();
    if (kind < 0.3) return this.#text();
    if (kind < 0.5) return this.#number(false);
    if (kind < 0.7 || depth > 3) return this.#one(['true', 'false', 'null']);
    const items = Array.from({ length: this.#below(4) }, () => this.#other(depth + 1));
    if (kind < 0.85) return `[${items.join(this.#one([',', ', ']))}]`;
    const members = new Map(items.map((item) => [this.#key(), item]));
    if (this.#chance(0.05)) return `${'['.repeat(40)}${']'.repeat(40)}`;
    return `{${[...members].map(([key, item]) => `${key}:${item}`).join(',')}}`;
  }
}
