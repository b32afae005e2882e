import type { Tx } from '../../platform/postgres.ts';

/** A place in the log's quarantine: nothing of such a line was accepted. */
export interface AsidePlace {
  readonly offset: bigint;
  /** 1-based, in the message. */
  readonly line: number;
  /** Bytes of the line, or of the message (isWholeMessage). */
  readonly size: number;
}

/**
 * Lines of the tenant that were set aside in messages [from, to], also by the server's own while the log was not said to hold the tenant's. `reasons`:
 * of these alone; absent: of any.
 */
export async function loadAsides(
  tx: Tx,
  at: { readonly topic: string; readonly partition: number; readonly tenant: string },
  from: bigint,
  to: bigint,
  reasons?: readonly string[],
): Promise<readonly AsidePlace[]> {
  return tx.query(
    `select log_offset as offset, line, raw_size::float8 as size from quarantine
     where topic = $1 and partition = $2 and log_offset between $3 and $4 and (tenant = $5 or reason = 'tenant')
       and ($6::text[] is null or reason = any($6::text[])) order by log_offset, line`,
    [at.topic, at.partition, from, to, at.tenant, reasons ?? null],
  );
}
