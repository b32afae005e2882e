import { isSource, openSource } from '../../artifacts/source.ts';
import type { Booking } from './booking-store.ts';
import type { SagaContext } from './context.ts';
import { outputsBounds, outputsUri } from './outputs.ts';

/** Earlier attempts that are looked at for a checkpoint, newest first. */
const MAX_LOOKS = 8;
const LIST_TIMEOUT_MS = 10_000;

/**
 * Where the newest checkpoint of an earlier attempt lies: the URI of what the job's `recovery.checkpoint` names under that attempt's outputs.
 * undefined: none was written, so the attempt begins at the beginning.
 */
export async function newestCheckpoint(
  ctx: SagaContext,
  booking: Booking,
  attempt: number,
): Promise<string | undefined> {
  const { checkpoint } = booking.spec;
  if (checkpoint === undefined) return undefined;
  for (let earlier = attempt - 1; earlier >= Math.max(1, attempt - MAX_LOOKS); earlier--) {
    const uri = outputsUri(ctx, booking, earlier);
    if (await hasCheckpoint(ctx, uri, checkpoint)) return `${uri}/${checkpoint}`;
  }
  return undefined;
}

async function hasCheckpoint(ctx: SagaContext, uri: string, checkpoint: string): Promise<boolean> {
  const source = await openSource(uri, outputsBounds(ctx));
  if (!isSource(source)) return false;
  try {
    const listing = await source.list(AbortSignal.timeout(LIST_TIMEOUT_MS));
    if (listing.kind === 'refused') return false;
    return listing.entries.some(({ path }) => path === checkpoint || path.startsWith(`${checkpoint}/`));
  } catch (error) {
    ctx.log.warn(
      { outputs: uri, error: String(error) },
      'the outputs of an earlier attempt cannot be listed; it has no checkpoint',
    );
    return false;
  }
}
