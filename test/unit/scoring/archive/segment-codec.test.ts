import { describe, expect, test } from 'vitest';
import type { LogMessage } from '../../../../platform/event-log.ts';
import { firstDifference, lineMarks } from '../../../../scoring/archive/line-marks.ts';
import { decodeSegment, encodeSegment, pack, type Segment, unpack } from '../../../../scoring/archive/segment-codec.ts';
import {
  sealedManifest,
  segmentKeys,
  segmentManifest,
  segmentOfKey,
} from '../../../../scoring/archive/segment-manifest.ts';
import { random } from '../../../integration/scoring-online-support.ts';

function message(offset: number, value: string | null | Buffer, more: Partial<LogMessage> = {}): LogMessage {
  return {
    tenant: 'acme',
    topic: 'merit.reports',
    partition: 2,
    offset: BigInt(offset),
    key: 'k',
    value: value === null ? null : Buffer.from(value),
    headers: { traceparent: '00-x' },
    appendedAtMs: 1_700_000_000_000.125 + offset,
    ...more,
  };
}

function segment(messages: readonly LogMessage[], more: Partial<Segment> = {}): Segment {
  const next = (messages.at(-1)?.offset ?? 0n) + 1n;
  return {
    topic: 'merit.reports',
    generation: 'g1',
    partition: 2,
    from: 0n,
    next,
    lostBefore: null,
    messages,
    ...more,
  };
}

const RICH = segment([
  message(0, 'one\ntwo\n'),
  message(1, null),
  message(4, Buffer.from([0, 10, 255, 10, 10]), { key: 'ü\n"', headers: { a: '\u0000', 'b-b': '{"x":1}\n' } }),
  message(5, ''),
  message(6, '{"offset":"7","size":3}\nabc'),
]);

describe('a segment', () => {
  test('gives back each message whole: tombstones, empty and binary values, headers, gaps and fractions of a millisecond', async () => {
    const text = await unpack(await pack(encodeSegment(RICH)));
    const read = decodeSegment(text!);
    expect(read.fault).toBeUndefined();
    expect(read.stretch).toMatchObject({ from: 0n, next: 7n, generation: 'g1', partition: 2, lostBefore: null });
    expect(read.messages).toEqual(RICH.messages);
  });

  test('of equal messages is the same bytes', () => {
    const again = segment(RICH.messages.map((one) => ({ ...one, headers: { ...one.headers } })));
    expect(encodeSegment(again).equals(encodeSegment(RICH))).toBe(true);
  });

  test.each([
    ['a byte of the value’s size', (text: string) => text.replace('"size":8', '"size":7')],
    ['a message too few', (text: string) => text.replace('"messages":5', '"messages":6')],
    ['an offset that goes back', (text: string) => text.replace('"offset":"4"', '"offset":"1"')],
    ['an offset beyond its end', (text: string) => text.replace('"offset":"6"', '"offset":"7"')],
    ['a member that is not ours', (text: string) => text.replace('"key":"k"', '"key":"k","x":1')],
    ['another format', (text: string) => text.replace('/v1', '/v2')],
    ['a torn end', (text: string) => text.slice(0, -1)],
  ])('with %s is told to be none, and nothing is thrown', (_what, change) => {
    const changed = change(encodeSegment(RICH).toString('latin1'));
    expect(decodeSegment(Buffer.from(changed, 'latin1')).fault).toBeTypeOf('string');
  });

  test('that is no zstd, or a bomb, cannot be unpacked', async () => {
    expect(await unpack(Buffer.from('nothing of that kind'))).toBeUndefined();
    expect(await unpack(await pack(Buffer.alloc(90 * 1024 * 1024)))).toBeUndefined();
  });

  test('any byte that changes is found, whatever it is', () => {
    const text = encodeSegment(RICH);
    const marks = lineMarks(RICH.messages);
    const next = random(3);
    for (let i = 0; i < 300; i++) {
      const changed = Buffer.from(text);
      const at = Math.floor(next() * changed.length);
      changed[at] = changed[at]! ^ (1 << Math.floor(next() * 8));
      const read = decodeSegment(changed);
      const found = read.fault ?? firstDifference(read.messages, marks)?.problem;
      const head = changed.indexOf(10);
      // The first line is the row's to judge; the rest shows here.
      if (at > head && head === text.indexOf(10)) expect(found, `byte ${at}`).toBeTypeOf('string');
    }
  });
});

describe('where a segment was changed', () => {
  const before = [message(0, 'a\nb\nc\n'), message(1, null), message(2, 'd\n')];
  const marks = lineMarks(before);
  test.each<[string, readonly LogMessage[], object | undefined]>([
    ['nowhere', before, undefined],
    [
      'a line altered',
      [message(0, 'a\nX\nc\n'), before[1]!, before[2]!],
      { offset: 0n, line: 2, problem: 'the line was altered' },
    ],
    [
      'a line deleted',
      [message(0, 'a\nc\n'), before[1]!, before[2]!],
      { offset: 0n, line: 2, problem: 'the line is missing' },
    ],
    [
      'the last line deleted',
      [message(0, 'a\nb\n'), before[1]!, before[2]!],
      { offset: 0n, line: 3, problem: 'the line is missing' },
    ],
    [
      'a line added',
      [message(0, 'a\nz\nb\nc\n'), before[1]!, before[2]!],
      { offset: 0n, line: 2, problem: 'the line was added' },
    ],
    [
      'a message deleted',
      [before[0]!, before[2]!],
      { offset: 1n, line: null, problem: 'the message is missing, or cannot be read' },
    ],
    [
      'the last message deleted',
      before.slice(0, 2),
      { offset: 2n, line: null, problem: 'the message is missing, or cannot be read' },
    ],
    ['a message added', [...before, message(3, 'e\n')], { offset: 3n, line: null, problem: 'the message was added' }],
    [
      'a header altered',
      [before[0]!, before[1]!, message(2, 'd\n', { headers: {} })],
      { offset: 2n, line: null, problem: 'the key, a header, the tenant or the time was altered' },
    ],
    [
      'a time altered',
      [before[0]!, message(1, null, { appendedAtMs: 1 }), before[2]!],
      { offset: 1n, line: null, problem: 'the key, a header, the tenant or the time was altered' },
    ],
    [
      'a tombstone filled',
      [before[0]!, message(1, ''), before[2]!],
      { offset: 1n, line: 1, problem: 'the line was added' },
    ],
    [
      'a value removed',
      [before[0]!, before[1]!, message(2, null)],
      { offset: 2n, line: 1, problem: 'the line is missing' },
    ],
  ])('is told to the line: %s', (_what, now, expected) => {
    expect(firstDifference(now, marks)).toEqual(expected);
  });
});

describe('a manifest', () => {
  const stored = { size: 10, sha256: 'a'.repeat(64), marksSha256: 'b'.repeat(64) };
  test('follows from the segment and the one before, to the byte', () => {
    const first = sealedManifest(segmentManifest(RICH, stored, null));
    expect(sealedManifest(segmentManifest(RICH, stored, null))).toEqual(first);
    expect(sealedManifest(segmentManifest(RICH, stored, first.sha256)).sha256).not.toBe(first.sha256);
    expect(JSON.parse(first.bytes.toString())).toMatchObject({
      from: '0',
      next: '7',
      messages: 5,
      bytes: 40,
      previous: null,
    });
  });

  test('names its objects by where the segment begins, so that they sort as the log does', () => {
    const keys = [9n, 10n, 2n ** 62n].map((from) => segmentKeys({ ...RICH, from }).segment);
    expect(keys).toEqual([...keys].sort());
    expect(segmentOfKey(keys[1]!)).toEqual({ topic: 'merit.reports', generation: 'g1', partition: 2, from: 10n });
    expect(segmentOfKey('archive/merit.reports/g1/2/10.zst')).toBeUndefined();
    expect(segmentOfKey('artifacts/default/j/1/x')).toBeUndefined();
  });
});
