import { randomBytes } from 'node:crypto';

/** W3C Trace Context: one trace id from the first request to the artifact. */

const TRACEPARENT = /^00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}$/;
const TRACEPARENT_LENGTH = 55;
const NO_TRACE = '0'.repeat(32);
const NO_SPAN = '0'.repeat(16);

/** The caller's trace id, or a fresh one where the header is absent, malformed or of another version. */
export function traceIdOf(header: string | readonly string[] | undefined): string {
  if (typeof header === 'string' && header.length === TRACEPARENT_LENGTH) {
    const match = TRACEPARENT.exec(header);
    if (match !== null && match[1] !== NO_TRACE && match[2] !== NO_SPAN) return match[1]!;
  }
  return randomBytes(16).toString('hex');
}

/** The header that carries the trace on; the span is this process's own. */
export function traceparent(traceId: string): string {
  return `00-${traceId}-${randomBytes(8).toString('hex')}-01`;
}
