import { type Batch, ColumnReader, type Schema } from 'simd-json-wasm';
import { describe, expect, test } from 'vitest';
import { Gatherer, readColumns } from './read-columns.ts';

const N = { n: { type: 'number' } } as const satisfies Schema;

describe('lines', () => {
  test('blank ones count and are no error, CRLF is as good as LF, and the last may lack its end', () => {
    const { kept, refused } = readColumns(N, '{"n":1}\r\n\r\n \t\r\n{"n":2}\n\n{"n":x}\r\n{"n":3}');
    expect(kept.map(({ line, cells }) => [line, cells.n])).toEqual([
      [1, 1],
      [4, 2],
      [7, 3],
    ]);
    expect(refused).toEqual([{ line: 6, offset: 5, reason: 'json_syntax', column: undefined }]);
  });

  test('of no bytes there are no lines', () => {
    expect(readColumns(N, '')).toEqual({ kept: [], refused: [] });
    expect(readColumns(N, '\n\n')).toEqual({ kept: [], refused: [] });
  });

  test('a line of exactly the limit is read and one byte more is refused unread, in one piece and in many', () => {
    const line = (length: number) => `{"n":1${' '.repeat(length - 7)}}`;
    const input = `${line(100)}\n${line(101)}\n${' '.repeat(101)}\n{"n":2}\n${line(5000)}\r\n${'x'.repeat(300_000)}\n{"n":3}\n${line(101)}`;
    for (const cuts of [[], [150], [100, 101, 102, 201, 202, 203], Array.from({ length: 300 }, (_, i) => i * 1009)]) {
      const { kept, refused } = readColumns(N, input, { maxLineBytes: 100, cuts });
      expect(kept.map(({ line: number, cells }) => [number, cells.n])).toEqual([
        [1, 1],
        [4, 2],
        [7, 3],
      ]);
      expect(refused).toEqual(
        [2, 3, 5, 6, 8].map((number) => ({ line: number, offset: 0, reason: 'too_large', column: undefined })),
      );
    }
  });

  test('a megabyte is the limit where none is given', () => {
    const line = (length: number) => `{"n":1,"x":"${'ä'.repeat((length - 14) / 2)}"}`;
    const { kept, refused } = readColumns(N, `${line(2 ** 20)}\n${line(2 ** 20)} \n`);
    expect([kept.length, refused[0]?.reason]).toEqual([1, 'too_large']);
  });

  test('depth is limited as asked', () => {
    const nested = (depth: number) => `{"n":1,"x":${'['.repeat(depth - 1)}${']'.repeat(depth - 1)}}`;
    const { kept, refused } = readColumns(N, `${nested(500)}\n${nested(501)}\n`, { maxDepth: 500 });
    expect([kept.length, refused[0]?.reason, refused[0]?.offset]).toEqual([1, 'depth', 11 + 499]);
    const deep = { n: { path: 'a.b.c', type: 'number' }, d: { path: 'a.d', type: 'numbers', optional: true } } as const;
    expect(readColumns(deep, '{"a":{"b":{"c":1}}}', { maxDepth: 2 }).refused).toMatchObject([
      { offset: 10, reason: 'depth' },
    ]);
    expect(readColumns(deep, '{"a":{"b":1,"d":{}}}', { maxDepth: 2 }).refused).toMatchObject([
      { offset: 16, reason: 'depth' },
    ]);
  });

  test('NUL and keys of prototypes are let through where they are allowed', () => {
    const schema = { t: { type: 'text' }, x: { path: '__proto__.y', type: 'number' } } as const;
    const input = '{"t":"\\u0000","__proto__":{"y":1},"constructor":{"prototype":1}}';
    expect(() => readColumns(schema, input, { allowNul: true })).toThrow('schema.x.path');
    expect(readColumns(schema, input, { allowNul: true, allowPrototypeKeys: true }).kept).toEqual([
      { line: 1, cells: { t: '\0', x: 1 } },
    ]);
    expect(readColumns(schema, input, { allowPrototypeKeys: true }).refused).toMatchObject([
      { offset: 6, reason: 'encoding' },
    ]);
    expect(readColumns(schema, '{"t":"\0"}', { allowNul: true, allowPrototypeKeys: true }).refused).toMatchObject([
      { reason: 'json_syntax' },
    ]);
  });
});

describe('batches', () => {
  const numbers = Array.from({ length: 2000 }, (_, i) => i);
  const input = numbers.map((n) => `{"n":${n},"d":{"a":${n},"b${n % 9}":0.5}}`).join('\n');
  const schema = { n: { type: 'number' }, d: { type: 'numbers', maxEntries: 40 } } as const satisfies Schema;

  test.each([1, 2, 7, 4096])('of %i rows at most give the same rows', (maxBatchRows) => {
    const { kept } = readColumns(schema, input, { maxBatchRows, cuts: [1, 77, 30_000] });
    expect(kept.map(({ line, cells }) => [line, cells])).toEqual(
      numbers.map((n) => [
        n + 1,
        {
          n,
          d: [
            ['a', n],
            [`b${n % 9}`, 0.5],
          ],
        },
      ]),
    );
  });

  test('never hold more rows or refused lines than asked, and end early where a dictionary has no room left', () => {
    const sizes: number[] = [];
    const reader = new ColumnReader(schema, ({ rows, refused }) => sizes.push(rows, refused.count), {
      maxBatchRows: 100,
    });
    const wide = `{"n":1,"d":{${Array.from({ length: 40 }, (_, i) => `"k${i}":${i}`).join(',')}}}\n`;
    reader.push(Buffer.from(wide.repeat(300) + 'x\n'.repeat(250)));
    // 100 rows have room for 1600 entries: 40 of these lines.
    expect(Math.max(...sizes)).toBe(100);
    expect(sizes[0]).toBe(40);
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(550);
  });

  test('come before push returns, with what it completed', () => {
    const rows: number[] = [];
    const reader = new ColumnReader(N, (batch) => rows.push(...batch.columns.n.values));
    reader.push(Buffer.from('{"n":1}\n{"n":'));
    expect(rows).toEqual([1]);
    reader.push(Buffer.from('2}\n{"n":3}'));
    expect(rows).toEqual([1, 2]);
    reader.finish();
    expect(rows).toEqual([1, 2, 3]);
  });

  test('tell where in the input they are, and count lines and bytes from the start again after finish', () => {
    const seen: unknown[] = [];
    const place = (batch: Batch<typeof N>) => seen.push([batch.offset + batch.starts[0]!, batch.lines[0]]);
    const reader = new ColumnReader(N, place);
    for (const _file of [1, 2]) {
      reader.push(Buffer.from('{"n":1}\n\n'));
      reader.push(Buffer.from(' {"n":2}'));
      reader.finish();
    }
    expect(seen).toEqual([
      [0, 1],
      [9, 3],
      [0, 1],
      [9, 3],
    ]);
  });

  test('that onBatch throws at end the reader, and it cannot be called from inside', () => {
    const reader: ColumnReader<typeof N> = new ColumnReader(N, () => reader.finish());
    expect(() => reader.push(Buffer.from('{"n":1}\n'))).toThrow('onBatch');
    expect(() => reader.push(Buffer.from('{"n":1}\n'))).toThrow('onBatch');
  });
});

describe('memory', () => {
  test('ids beyond the limit refuse their line and no other', () => {
    const schema = { t: { type: 'id', maxIds: 2 }, d: { type: 'numbers', maxIds: 1, optional: true } } as const;
    const gatherer = new Gatherer(schema);
    const lines = ['{"t":"a"}', '{"t":"b","d":{"x":1}}', '{"t":"c"}', '{"t":"a","d":{"y":1}}', '{"t":"b","d":{"x":2}}'];
    const { kept, refused } = gatherer.read(lines.join('\n'));
    expect(kept.map(({ line }) => line)).toEqual([1, 2, 5]);
    expect(refused).toEqual([
      { line: 3, offset: 5, reason: 'ids', column: 't' },
      { line: 4, offset: 14, reason: 'ids', column: 'd' },
    ]);
    expect(gatherer.reader.ids.t.size).toBe(2);
    expect(() => gatherer.reader.ids.t.text(2)).toThrow(RangeError);
  });

  test('never grows beyond what is allowed: a line that would need more is refused, and the next is read', () => {
    const schema = { t: { type: 'id', maxIds: 2 ** 24 } } as const;
    const gatherer = new Gatherer(schema, { maxMemoryBytes: 3 * 2 ** 20 });
    const lines = Array.from({ length: 20_000 }, (_, i) => `{"t":"${i} ${'x'.repeat(90)}"}`);
    const { kept, refused } = gatherer.read([...lines, lines[0], '{"t":"new"}'].join('\n'));
    expect(kept.length + refused.length).toBe(lines.length + 2);
    expect(kept.length).toBeGreaterThan(5000);
    expect(new Set(refused.map(({ reason }) => reason))).toEqual(new Set(['memory']));
    // What is known goes on being read.
    expect(kept.some(({ line }) => line === lines.length + 1)).toBe(true);
  });

  test('keys without end in a line take no more than that either', () => {
    const line = `{"n":1,"x":{${Array.from({ length: 40_000 }, (_, i) => `"${i}":{}`).join(',')}}}\n`;
    const { kept, refused } = readColumns(N, `${line}{"n":2}\n`, { maxMemoryBytes: 3 * 2 ** 20 });
    expect(refused.map(({ reason }) => reason)).toEqual(['memory']);
    expect(kept.map(({ cells }) => cells.n)).toEqual([2]);
  });

  test('that does not even hold the limits is refused at once', () => {
    expect(() => new ColumnReader(N, () => undefined, { maxMemoryBytes: 2 ** 20 })).toThrow('options.maxMemoryBytes');
  });
});

describe('a schema or an option that makes no sense is refused at once, by name', () => {
  test.each<readonly [string, Schema, object, string]>([
    ['no columns', {}, {}, 'columns in the schema'],
    ['an unknown type', { a: { type: 'string' } as never }, {}, 'schema.a.type must be one of number,'],
    ['an empty path', { a: { type: 'id', path: [] } }, {}, 'schema.a.path'],
    ['one path twice', { a: { type: 'id' }, b: { type: 'id', path: 'a' } }, {}, 'schema.b.path'],
    ['a path through a value', { a: { type: 'numbers' }, b: { type: 'number', path: 'a.x' } }, {}, 'schema.b.path'],
    [
      'a path to an object on the way',
      { b: { type: 'number', path: 'a.x' }, a: { type: 'numbers' } },
      {},
      'schema.a.path',
    ],
    ['a key of a prototype', { a: { type: 'id', path: 'constructor.prototype' } }, {}, 'schema.a.path'],
    ['a lone surrogate', { a: { type: 'id', path: ['\ud800'] } }, {}, 'schema.a.path'],
    ['a range upside down', { a: { type: 'number', min: 2, max: 1 } }, {}, 'schema.a.min'],
    ['a range of NaN', { a: { type: 'number', min: Number.NaN } }, {}, 'schema.a.min'],
    ['lengths upside down', { a: { type: 'text', minBytes: 2, maxBytes: 1 } }, {}, 'schema.a.minBytes'],
    ['characters beyond ASCII', { a: { type: 'text', characters: 'a-ä' } }, {}, 'schema.a.characters'],
    ['a range of characters upside down', { a: { type: 'text', characters: 'z-a' } }, {}, 'schema.a.characters'],
    ['no characters', { a: { type: 'id', characters: '' } }, {}, 'schema.a.characters'],
    ['keys of no characters', { a: { type: 'numbers', keys: { characters: '' } } }, {}, 'schema.a.keys.characters'],
    ['half an id', { a: { type: 'id', maxIds: 0.5 } }, {}, 'schema.a.maxIds'],
    ['entries without end', { a: { type: 'numbers', maxEntries: Infinity } }, {}, 'schema.a.maxEntries'],
    ['no depth', N, { maxDepth: 0 }, 'options.maxDepth'],
    ['no line', N, { maxLineBytes: 0 }, 'options.maxLineBytes'],
    ['no rows', N, { maxBatchRows: -1 }, 'options.maxBatchRows'],
    ['no memory', N, { maxMemoryBytes: 1 }, 'options.maxMemoryBytes'],
  ])('%s', (_name, schema, options, message) => {
    expect(() => new ColumnReader(schema, () => undefined, options)).toThrow(message);
  });
});
