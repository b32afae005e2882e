import { gzipSync } from 'node:zlib';
import type { RawReply } from '../../peers/simulator-server.ts';

/** Answers that are none, whatever was asked: of each a name, and what the peer sends in place of its own. `good` is what it would have sent. */
export function badReplies(good: object): readonly (readonly [string, RawReply])[] {
  const text = JSON.stringify(good);
  const withStatus = (status: number, headers: Readonly<Record<string, string>> = {}): RawReply => ({
    status,
    headers,
    body: status === 204 ? '' : text,
  });
  return [
    ['nothing', { body: '' }],
    ['half of one', { body: text.slice(0, Math.floor(text.length / 2)) }],
    ['a doubled key', { body: `{"id":"x",${text.slice(1, -1)},"id":"x"}` }],
    ['__proto__', { body: `{"__proto__":${text}}` }],
    ['__proto__ beside what is good', { body: `${text.slice(0, -1)},"__proto__":{}}` }],
    ['deep nesting', { body: '['.repeat(100_000) }],
    ['bad UTF-8', { body: Buffer.from([0x22, 0xc3, 0x28, 0x22]) }],
    ['HTML', { body: '<html>ok</html>' }],
    ['50 MiB', { body: Buffer.alloc(50 * 1024 * 1024, 0x20) }],
    ['100 KB of headers', { headers: { 'x-much': 'x'.repeat(100_000) }, body: text }],
    ['an encoding that was not asked for', { headers: { 'content-encoding': 'gzip' }, body: gzipSync(text) }],
    ['a bomb', { headers: { 'content-encoding': 'gzip' }, body: gzipSync(Buffer.alloc(64 * 1024 * 1024)) }],
    ...[201, 202, 204, 500, 502, 503].map((status) => [`status ${status}`, withStatus(status)] as const),
    ...[401, 403].map((status) => [`status ${status}`, withStatus(status)] as const),
    ...[301, 302, 307, 308].map(
      (status) => [`a redirect, ${status}`, withStatus(status, { location: 'http://127.0.0.1:9/' })] as const,
    ),
    ['429, to come back in a third of a year', withStatus(429, { 'retry-after': '9999999' })],
    ['429, to come back before it was asked', withStatus(429, { 'retry-after': '-5' })],
    ['429, to come back some time', withStatus(429, { 'retry-after': 'abc' })],
    ['404 without a reason', withStatus(404)],
    ['422 without a reason', withStatus(422)],
  ];
}
