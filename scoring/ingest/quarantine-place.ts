/** Lines that one request sends again; each is named in its audit event. */
export const MAX_REDRIVEN = 1_000;

/** Where a line that was set aside stood in the log; as a text the name that it goes by: `merit.reports-0-123-4`. */
export interface Place {
  readonly topic: string;
  readonly partition: number;
  readonly offset: bigint;
  /** 1-based, in the message. */
  readonly line: number;
}

/** Kafka's rules of a topic's name. */
const PLACE = /^([A-Za-z0-9._-]{1,249})-([0-9]{1,9})-([0-9]{1,18})-([0-9]{1,9})$/;

export function placeText({ topic, partition, offset, line }: Place): string {
  return `${topic}-${partition}-${offset}-${line}`;
}

/** undefined: no place is named like that. */
export function readPlace(text: string): Place | undefined {
  const match = PLACE.exec(text);
  if (match === null) return undefined;
  return { topic: match[1]!, partition: Number(match[2]), offset: BigInt(match[3]!), line: Number(match[4]) };
}

/** The same text of a row of the quarantine, in SQL. */
export function placeOfRow(row: string): string {
  return `${row}.topic || '-' || ${row}.partition || '-' || ${row}.log_offset || '-' || ${row}.line`;
}
