import { describe, expect, test } from 'vitest';
import type { LogMessage } from '../../../../platform/event-log.ts';
import { STRAY_HEADER, TRACE_HEADER } from '../../../../scoring/ingest/report-log.ts';
import { StraySeal } from '../../../../scoring/ingest/stray-seal.ts';
import { originOf, StrayLines } from '../../../../scoring/ingest/strays.ts';

const ours = new StraySeal(Buffer.alloc(32, 1));
const theirs = new StraySeal(Buffer.alloc(32, 2));
const source: LogMessage = {
  tenant: 'acme',
  topic: 'merit.reports',
  partition: 3,
  offset: 41n,
  appendedAtMs: 1_000,
  key: 'k',
  value: null,
  headers: { [TRACE_HEADER]: 'trace' },
};

/** As it lies in partition 5 once the reader of partition 3 has appended it. */
function appended(seal = ours): LogMessage & { readonly value: Uint8Array } {
  const lines = new StrayLines(source, 5);
  lines.add(1, Buffer.from('{"a":1}'));
  return { ...seal.seal(lines.message()), partition: 5, offset: 7n, appendedAtMs: 2_000 };
}
const withOrigin = (message: LogMessage, origin: string) => ({
  ...message,
  headers: { ...message.headers, [STRAY_HEADER]: origin },
});

describe('where a line was read before', () => {
  test('is believed of a message that a reader sealed, and lies in it as it was', () => {
    expect(originOf(ours.open(appended()))).toEqual({ partition: 3, offset: 41n, arrivedAtMs: 1_000, hops: 1 });
  });

  const sealed = appended();
  const [origin, seal] = sealed.headers[STRAY_HEADER]!.split(/:(?=[^:]*$)/) as [string, string];
  test.each<[string, LogMessage]>([
    ['bears no seal', withOrigin(sealed, origin)],
    ['bears an empty seal', withOrigin(sealed, `${origin}:`)],
    ['bears a seal that is cut', withOrigin(sealed, `${origin}:${seal.slice(1)}`)],
    ['bears a seal of letters of two bytes', withOrigin(sealed, `${origin}:${'ä'.repeat(seal.length)}`)],
    ['was sealed by another key', appended(theirs)],
    ['names another offset', withOrigin(sealed, `3:999999999999999999:1000:1:${seal}`)],
    ['names another partition', withOrigin(sealed, `4:41:1000:1:${seal}`)],
    ['holds other lines', { ...sealed, value: Buffer.from('{"a":2}') }],
    ['holds nothing', { ...sealed, value: null }],
    ['lies in another partition', { ...sealed, partition: 6 }],
    ['lies in another topic', { ...sealed, topic: 'merit.others' }],
    ['is of another tenant', { ...sealed, tenant: 'other' }],
    ['says nothing', withOrigin(sealed, '')],
  ])('is not believed of a message that %s; all else of it stays', (_, message) => {
    expect(ours.open(message)).toEqual({ ...message, headers: { [TRACE_HEADER]: 'trace' } });
  });

  test('is nothing to a message that came as messages come', () => {
    expect(ours.open(source)).toBe(source);
  });
});
