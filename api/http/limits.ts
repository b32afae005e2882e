/** Every bound of the HTTP surface, by name. */

/** A JSON body; NDJSON is bounded by the line (core/ndjson). */
export const MAX_BODY_BYTES = 1024 * 1024;
export const MAX_HEADER_BYTES = 16 * 1024;
export const HEADERS_TIMEOUT_MS = 10_000;
/** A JSON body must be there whole within this; a stream must not pause longer. */
export const BODY_TIMEOUT_MS = 25_000;
/** Slow or dripped headers are looked for this often. */
export const CONNECTIONS_CHECK_MS = 1_000;
export const KEEP_ALIVE_TIMEOUT_MS = 5_000;
/** A gzip stream may not unfold to more than this. */
export const MAX_INFLATED_BYTES = 8 * 1024 ** 3;
/** A packed working directory; Ray takes packages of at most 100 MiB. */
export const MAX_CODE_UPLOAD_BYTES = 100 * 1024 * 1024;
/** Requests answered at a time; what comes beyond is told to come back. */
export const MAX_IN_FLIGHT = 512;
export const RETRY_AFTER_SECONDS = 1;
export const PAGE_DEFAULT = 50;
export const PAGE_MAX = 500;
export const MAX_IDEMPOTENCY_KEY_LENGTH = 255;
/** Requests with one idempotency key that wait for the first; more are told to come back. */
export const MAX_SAME_KEY_WAITING = 100;
/** A log is read in pieces of at most this. */
export const MAX_LOG_PIECE_BYTES = 1024 * 1024;
/** The longest path parameter the router reads; schemas hold ids shorter and say so. */
export const MAX_PARAM_LENGTH = 2048;
