/** The topic of evaluation reports and the headers its messages carry. */
export const REPORTS_TOPIC = 'merit.reports';

/** The authenticated sender; every line's `producer` must equal it. Absent where the door knows no identity. */
export const PRODUCER_HEADER = 'producer';
/** W3C trace context of the upload. */
export const TRACE_HEADER = 'traceparent';
/** The 1-based number in the upload of the message's first line; absent: 1. */
export const FIRST_LINE_HEADER = 'first-line';
/** `<size>:<sha256>` of a line past MAX_LINE_BYTES, of which the message holds the first KiB only. */
export const TOO_LARGE_HEADER = 'too-large';
/** The place in the quarantine of the line that this message holds once more. */
export const REDRIVE_HEADER = 'redrive-of';
/** `<code>:<byte>:<problem>` of a message that could not be opened: it is set aside whole. Only who opens messages writes it. */
export const REFUSED_HEADER = 'refused';

/**
 * `<partition>:<offset>:<first append, ms>:<hops>`: where the lines of this message were read, in a partition that does not serve them. In the
 * log `:<seal>` follows, which tells that a reader wrote it (StraySeal).
 */
export const STRAY_HEADER = 'stray-from';

/** What is kept of a line that is past the limit. */
export const TOO_LARGE_KEPT_BYTES = 1024;
