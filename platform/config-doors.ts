import { type Static, Type } from '../core/schema.ts';
import type { Reader } from './config-file.ts';
import { ruleDuration } from './config-rules.ts';

/** What the server's doors take in and give out: backlog, rates, what is published. */

const Optional = Type.Optional;
const closed = { additionalProperties: false } as const;
const Text = Type.String({ minLength: 1, maxLength: 64 });
const Rate = Type.Object(
  {
    perSecond: Type.Integer({ minimum: 1, maximum: 1_000_000 }),
    burst: Optional(Type.Integer({ minimum: 1, maximum: 10_000_000 })),
  },
  closed,
);

export const IngestFile = Type.Object(
  {
    maxBacklogMessages: Optional(Type.Integer({ minimum: 1, maximum: 1_000_000_000_000 })),
    maxBacklogBytes: Optional(Type.Integer({ minimum: 1024 * 1024, maximum: Number.MAX_SAFE_INTEGER })),
    maxBacklogAge: Optional(Text),
    quarantineRetention: Optional(Text),
  },
  closed,
);
export const RateLimitFile = Type.Object({ identity: Optional(Rate), tenant: Optional(Rate) }, closed);
export const DownstreamFile = Type.Object({ retention: Optional(Text) }, closed);

/** Beyond any of these the door takes no more reports until the consumer has caught up. */
export interface BacklogLimits {
  readonly messages: number;
  /** Of the log's messages, as far as their size can be told: an estimate. */
  readonly bytes: number;
  /** Of the oldest message that was not read yet. */
  readonly ageMs: number;
}

export interface IngestConfig {
  readonly backlog: BacklogLimits;
  /** How long lines that were set aside are kept. */
  readonly quarantineRetentionMs: number;
}

/** So many a second on the long run, and `burst` at once. */
export interface Rate {
  readonly perSecond: number;
  readonly burst: number;
}

export interface RateLimits {
  readonly identity: Rate;
  readonly tenant: Rate;
}

export interface DownstreamConfig {
  /** How long what was published stays in the outbox, and in those topics of the embedded log. */
  readonly retentionMs: number;
}

const DAY_MS = 86_400_000;
const DEFAULT_BACKLOG_MESSAGES = 1_000_000;
/** What the embedded log may grow by before it is read. */
const DEFAULT_BACKLOG_BYTES = 16 * 1024 ** 3;
/** A machine of its own does this for one user; a runaway loop does ten times as much. */
const IDENTITY_PER_SECOND = 2_000;
const TENANT_PER_SECOND = 5_000;
/** A burst is worth so many seconds where the file does not say. */
const BURST_SECONDS = 2;

/**
 * As long as windows and late reports reach back, and a day: the history of a suite's new version is read from the log again, and what was set aside
 * of it is known by the quarantine alone.
 */
const MIN_QUARANTINE_MS = 15 * DAY_MS;

export function ingestConfig(file: Static<typeof IngestFile> = {}, reader: Reader): IngestConfig {
  const { maxBacklogAge = '6h', quarantineRetention = '30d' } = file;
  const ageMs = reader.take(ruleDuration('ingest.maxBacklogAge', maxBacklogAge, 1_000, 30 * DAY_MS), DAY_MS);
  const quarantineRetentionMs = reader.take(
    ruleDuration('ingest.quarantineRetention', quarantineRetention, 1, 3_650 * DAY_MS),
    MIN_QUARANTINE_MS,
  );
  if (quarantineRetentionMs < MIN_QUARANTINE_MS)
    reader.refuse(
      'range',
      'ingest.quarantineRetention',
      'is less than 15d: the history of a new version of a suite would count lines that were set aside',
      'write 15d or more; the default is 30d',
    );
  return {
    backlog: {
      messages: file.maxBacklogMessages ?? DEFAULT_BACKLOG_MESSAGES,
      bytes: file.maxBacklogBytes ?? DEFAULT_BACKLOG_BYTES,
      ageMs,
    },
    quarantineRetentionMs,
  };
}

export function rateLimits(file: Static<typeof RateLimitFile> = {}, reader: Reader): RateLimits {
  const rate = (name: 'identity' | 'tenant', initial: number): Rate => {
    const perSecond = file[name]?.perSecond ?? initial;
    return { perSecond, burst: file[name]?.burst ?? perSecond * BURST_SECONDS };
  };
  const limits = { identity: rate('identity', IDENTITY_PER_SECOND), tenant: rate('tenant', TENANT_PER_SECOND) };
  if (limits.tenant.perSecond < limits.identity.perSecond && file.identity !== undefined && file.tenant !== undefined)
    reader.refuse(
      'conflict',
      'rateLimit.tenant',
      'lets a whole tenant do less than one of its identities',
      'raise it, or lower rateLimit.identity',
    );
  return limits;
}

export function downstreamConfig(file: Static<typeof DownstreamFile> = {}, reader: Reader): DownstreamConfig {
  const { retention = '7d' } = file;
  const retentionMs = reader.take(ruleDuration('downstream.retention', retention, 60_000, 3_650 * DAY_MS), DAY_MS);
  return { retentionMs };
}
