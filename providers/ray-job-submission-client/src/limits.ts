/** Every bound this client holds, in one place. Sizes in bytes, times in milliseconds. */

/** A reply about one job. Ray keeps at most 20,000 characters of a job's message, so a true reply stays far below. */
export const REPLY_LIMIT_BYTES = 1024 * 1024;
/** Replies that grow with the cluster: every job Ray remembers (~1.5 KB each, up to 20 KB with a message), every node (~16 KB each). */
export const LIST_LIMIT_BYTES = 32 * 1024 * 1024;
/** Nodes that the state API is asked for; its own limit is 10,000. */
export const NODES_LIMIT = 10_000;
/** How much of a failed call's text is read: enough for Ray's tracebacks, which end with what matters. */
export const ERROR_TEXT_LIMIT_BYTES = 256 * 1024;
/** Ray sends the whole log on each call; this bounds what one call may pull over the wire, not what it holds in memory. */
export const LOG_WIRE_LIMIT_BYTES = 256 * 1024 * 1024;
/** Bytes of a log that one `logs` call returns when the caller names no size. */
export const LOG_DEFAULT_BYTES = 1024 * 1024;
export const HEADER_LIMIT_BYTES = 16 * 1024;
/** Ray's GCS refuses larger packages with 413. */
export const PACKAGE_LIMIT_BYTES = 100 * 1024 * 1024;
/** What `zipFolder` is willing to read; each file passes through memory whole. */
export const FOLDER_LIMIT_BYTES = 512 * 1024 * 1024;
/** The classic zip format counts its entries in 16 bits. */
export const FOLDER_LIMIT_FILES = 65_000;

export const CALL_TIMEOUT_MS = 15_000;
/** The first POST to a fresh cluster waits for its job agent: ~6 s measured, Ray gives up after 10 s. */
export const SUBMIT_TIMEOUT_MS = 30_000;
export const UPLOAD_TIMEOUT_MS = 120_000;
export const LOGS_TIMEOUT_MS = 60_000;

export const GET_ATTEMPTS = 3;
export const RETRY_AFTER_LIMIT_MS = 60_000;
export const BACKOFF_FIRST_MS = 250;
export const BACKOFF_LIMIT_MS = 5_000;

export const CONNECTIONS_LIMIT = 16;
/** A tail's peer that answers no ping for this long is gone. */
export const TAIL_PING_MS = 30_000;
export const TAIL_MESSAGE_LIMIT_BYTES = 4 * 1024 * 1024;
/** Messages held for a slow reader before the socket is paused. */
export const TAIL_QUEUE_LIMIT = 64;

export const JSON_DEPTH_LIMIT = 64;
