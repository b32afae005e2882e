import { collect, forgetProgress } from '../../artifacts/collect.ts';
import { buildManifest, type Manifest } from '../../artifacts/manifest.ts';
import { artifactsPrefix, objectKey } from '../../artifacts/paths.ts';
import { manifestOf, writeManifest } from '../../artifacts/store.ts';
import { assert } from '../../core/assert.ts';
import type { BookingState, Reason } from '../../core/booking.ts';
import { sha256Hex } from '../../core/canonical.ts';
import { jobProducer } from '../../core/ids.ts';
import { OperatingError } from '../../core/operating-error.ts';
import { RefusedInput, refusalText } from '../../core/refusal.ts';
import { formatTraceparent } from '../../platform/trace.ts';
import type { Booking } from './booking-store.ts';
import type { SagaContext } from './context.ts';
import { outputsBounds, outputsUri } from './outputs.ts';

/** The file of a job's own EvalReports among its outputs. */
export const REPORTS_FILE = 'reports.ndjson';
/** Copying one attempt's outputs is given up, and tried again, after this. */
const COLLECT_TIMEOUT_MS = 30 * 60_000;

export type Kept =
  | { readonly kind: 'kept'; readonly sha256: string }
  | { readonly kind: 'refused'; readonly reason: Reason };

/**
 * Streams the outputs of an ended attempt into the object store, records their manifest with its audit event, and publishes
 * its reports as producer `job-<bookingId>`. Repeatable after a crash at any point: same objects, one manifest; a report published twice
 * is a duplicate by its id.
 */
export async function keepArtifacts(
  ctx: SagaContext,
  booking: Booking,
  state: Extract<BookingState, { state: 'applied' | 'draining' }>,
): Promise<Kept> {
  const { bookingId, tenant } = booking;
  const prefix = artifactsPrefix(tenant, bookingId, state.attempt);
  const manifest = await collected(ctx, booking, state, prefix);
  if ('kind' in manifest) return manifest;
  const { sha256 } = await writeManifest(ctx.store, prefix, manifest);
  await ctx.desk.recordManifest(booking, prefix, manifest, ctx.clock.now());
  await publishReports(ctx, booking, manifest, prefix);
  await forgetProgress(ctx.store, prefix);
  return { kind: 'kept', sha256 };
}

async function collected(
  ctx: SagaContext,
  booking: Booking,
  state: Extract<BookingState, { state: 'applied' | 'draining' }>,
  prefix: string,
): Promise<Manifest | Extract<Kept, { kind: 'refused' }>> {
  const uri = outputsUri(ctx, booking, state.attempt);
  const refused = (text: string): Extract<Kept, { kind: 'refused' }> => ({
    kind: 'refused',
    reason: {
      code: 'artifacts_refused',
      text: `its outputs cannot be kept: ${text}`,
      mend: 'mend what the job writes, then submit again',
    },
  });
  try {
    const found = await collect({
      uri,
      store: ctx.store,
      keyPrefix: prefix,
      ...outputsBounds(ctx),
      signal: AbortSignal.timeout(COLLECT_TIMEOUT_MS),
    });
    if (found.kind === 'refused') return refused(found.refusals.map(refusalText).join('; '));
    const earlier = await ctx.desk.manifest(booking.bookingId, state.attempt);
    if (earlier !== undefined) {
      const recorded = manifestOf(earlier);
      assert(recorded !== undefined, `the recorded manifest of ${booking.bookingId} has the hash it was recorded with`);
      return recorded;
    }
    return buildManifest(
      {
        tenant: booking.tenant,
        booking: booking.bookingId,
        attempt: state.attempt,
        job: booking.jobName,
        model: modelOf(booking),
        provider: state.placement.provider,
        outputsUri: uri,
        createdAt: new Date(state.appliedAtMs).toISOString(),
      },
      found.files,
    );
  } catch (error) {
    if (error instanceof RefusedInput) return refused(error.message);
    if (error instanceof OperatingError && error.code === 'not-found') return refused(`${uri} is not there any more`);
    throw error;
  }
}

/** The version a retrain makes, where it says so; else the model the job file names. */
function modelOf(booking: Booking): string | null {
  const named = booking.spec.parameters.model;
  return typeof named === 'string' ? named : booking.spec.model;
}

async function publishReports(ctx: SagaContext, booking: Booking, manifest: Manifest, prefix: string): Promise<void> {
  if (!manifest.files.some((file) => file.path === REPORTS_FILE)) return;
  const stream = await ctx.store.get(objectKey(prefix, REPORTS_FILE));
  if (stream === undefined)
    throw new OperatingError(
      'storage',
      'safe',
      `reading ${REPORTS_FILE} of booking ${booking.bookingId} back from the object store`,
    );
  const producer = jobProducer(booking.bookingId);
  const spanId = sha256Hex(producer).slice(0, 16);
  await ctx.publishReports(stream, {
    tenant: booking.tenant,
    producer,
    traceparent: formatTraceparent({ traceId: booking.traceId, spanId, sampled: true }),
  });
}
