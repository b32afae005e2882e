import { Readable } from 'node:stream';
import { attemptKey } from '../../core/ids.ts';
import { type Provider, ProviderError } from '../../providers/provider.ts';
import type { Booking } from './booking-store.ts';
import type { SagaContext } from './context.ts';
import { MAX_LOG_BYTES, PROVIDER_TIMEOUT_MS } from './limits.ts';

const CHUNK_BYTES = 1024 * 1024;

/** Where the log of an ended attempt is kept, so that it outlives the resource. */
export function logKey(tenant: string, bookingId: string, attempt: number): string {
  return `logs/${tenant}/${bookingId}/${attempt}.log`;
}

/** Copies the attempt's log into the object store in chunks. A log that cannot be had is noted and does not hold the booking up. */
export async function keepLog(ctx: SagaContext, booking: Booking, attempt: number, provider: Provider): Promise<void> {
  const key = logKey(booking.tenant, booking.bookingId, attempt);
  if (!provider.capabilities.logs || (await ctx.store.head(key)) !== undefined) return;
  try {
    await ctx.store.put(key, Readable.from(chunks(provider, attemptKey(booking.bookingId, attempt))), {
      ifAbsent: true,
    });
  } catch (error) {
    if (!(error instanceof ProviderError)) throw error;
    ctx.log.warn({ booking: booking.bookingId, attempt, error: error.message }, 'the log could not be kept');
  }
}

async function* chunks(provider: Provider, key: string): AsyncGenerator<Uint8Array> {
  for (let from = 0; from < MAX_LOG_BYTES; ) {
    const bytes = await provider.logs(key, from, CHUNK_BYTES, AbortSignal.timeout(PROVIDER_TIMEOUT_MS));
    if (bytes.length === 0) return;
    from += bytes.length;
    yield bytes;
  }
}
