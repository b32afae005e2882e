/** Every bound of the HTTP surface, by name. */

/** A JSON body; NDJSON is bounded by the line (core/ndjson). */
export const MAX_BODY_BYTES = 1024 * 1024;
export const MAX_HEADER_BYTES = 16 * 1024;
const HEADERS_TIMEOUT_MS = 10_000;
/** Slow or dripped headers are looked for this often. */
const CONNECTIONS_CHECK_MS = 1_000;
/** What both doors hold their connections to. */
export const CONNECTION_OPTIONS = {
  maxHeaderSize: MAX_HEADER_BYTES,
  headersTimeout: HEADERS_TIMEOUT_MS,
  connectionsCheckingInterval: CONNECTIONS_CHECK_MS,
  // The guard refuses it, as a problem like all others.
  requireHostHeader: false,
} as const;
/** A JSON body must be there whole within this; a stream must not pause longer. */
export const BODY_TIMEOUT_MS = 25_000;
/** Of a body that is not wanted, so much time is read and thrown away behind the answer. */
export const LINGER_MS = 2_000;
export const KEEP_ALIVE_TIMEOUT_MS = 5_000;
/** A gzip stream may not unfold to more than this. */
export const MAX_INFLATED_BYTES = 8 * 1024 ** 3;
/** A packed working directory; Ray takes packages of at most 100 MiB. */
export const MAX_CODE_UPLOAD_BYTES = 100 * 1024 * 1024;
/** Requests answered at a time; what comes beyond is told to come back. */
export const MAX_IN_FLIGHT = 512;
/** Of them those of one tenant, so that others have answers beside it. */
export const MAX_TENANT_IN_FLIGHT = 384;
export const RETRY_AFTER_SECONDS = 1;
export const PAGE_DEFAULT = 50;
export const PAGE_MAX = 500;
export const MAX_IDEMPOTENCY_KEY_LENGTH = 255;
/** Requests with one idempotency key that wait for the first; more are told to come back. */
export const MAX_SAME_KEY_WAITING = 100;
/** A log is read in pieces of at most this. */
export const MAX_LOG_PIECE_BYTES = 1024 * 1024;
/** The last lines of a log are looked for in this much of its end. */
export const MAX_TAIL_BYTES = 8 * 1024 * 1024;
export const MAX_TAIL_LINES = 100_000;
/** An event of a log's stream carries at most this; what waits for a slow reader is one event. */
export const LOG_EVENT_BYTES = 64 * 1024;
/** How often a stream looks for what a running job wrote since. */
export const LOG_POLL_MS = 500;
/** Streams of logs open at a time in one process; each holds a piece of a log, and one of the requests answered at a time. */
export const MAX_LOG_STREAMS = 128;
/** Streams of events open at a time in one process; each holds one of the requests answered at a time. */
export const MAX_EVENT_STREAMS = 64;
/** Events that a stream reads at once from each of its two sequences, and the bytes of an audit event that it carries whole. */
export const EVENTS_PER_READ = 100;
export const MAX_EVENT_DATA_BYTES = 8 * 1024;
/** How often it is looked for new events, once for all streams of a tenant. */
export const EVENTS_POLL_MS = 500;
/** A silent stream says that it lives. */
export const HEARTBEAT_MS = 15_000;
/** A reader that has not taken what was sent within this is cut off; what waits for it is one read at most. */
export const SLOW_READER_MS = 10_000;
/** How often it is asked anew whether the reader of a stream may read it. Shorter than what is known of people is kept (30 s), so that it adds little to that. */
export const STREAM_RIGHTS_MS = 5_000;
/** A stream ends after this, and its reader comes again. */
export const MAX_STREAM_MS = 3_600_000;
/** What a reader is asked to wait before it comes again. */
export const STREAM_RETRY_MS = 2_000;
/** The longest path parameter the router reads; schemas hold ids shorter and say so. */
export const MAX_PARAM_LENGTH = 2048;
