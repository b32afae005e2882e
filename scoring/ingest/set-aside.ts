import { sha256Hex } from '../../core/canonical.ts';
import type { Aside, LogLine } from './read-lines.ts';
import { TOO_LARGE_KEPT_BYTES } from './report-log.ts';

/** A line as the quarantine keeps it. */
export interface SetAside {
  readonly tenant: string;
  readonly topic: string;
  readonly partition: number;
  readonly offset: bigint;
  /** 1-based, in the message. */
  readonly line: number;
  readonly aside: Aside;
  readonly producer: string | null;
  /** Of a line past the limit the first KiB. */
  readonly raw: Uint8Array;
  readonly rawSize: number;
  readonly rawSha256: string;
  readonly traceId: string;
  /** The name whose registration it waits for. */
  readonly awaits: string | null;
}

export function setAside(line: LogLine, aside: Aside, producer: string | null): SetAside {
  const { tenant, topic, partition, offset } = line.message;
  const raw = aside.code === 'too_large' ? line.raw.subarray(0, TOO_LARGE_KEPT_BYTES) : line.raw;
  return {
    tenant,
    topic,
    partition,
    offset,
    line: line.line,
    aside,
    producer,
    raw: Uint8Array.from(raw),
    rawSize: line.rawSize,
    rawSha256: line.rawSha256 ?? sha256Hex(line.raw),
    traceId: line.traceId,
    awaits: awaitedName(line, aside),
  };
}

/** The name whose registration a line waits for; null: nothing that is registered would make it good. */
function awaitedName({ reading }: LogLine, aside: Aside): string | null {
  if (!reading.ok) return null;
  const { report } = reading;
  return aside.code === 'unknown_model' ? report.model : aside.code === 'unknown_suite' ? report.suite : null;
}
