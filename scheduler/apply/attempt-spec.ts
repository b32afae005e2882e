import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { materialiseCode } from '../../artifacts/code.ts';
import type { BookingState } from '../../core/booking.ts';
import { canonicalText } from '../../core/canonical.ts';
import { attemptKey } from '../../core/ids.ts';
import { formatTraceparent } from '../../platform/trace.ts';
import type { AttemptSpec } from '../../providers/provider.ts';
import { type Booking, leaseMsOf } from './booking-store.ts';
import { newestCheckpoint } from './checkpoint.ts';
import type { SagaContext } from './context.ts';
import { codeHash } from './create-booking.ts';
import { outputsUri } from './outputs.ts';

/**
 * What the provider is given. Parameters travel as JSON in MERIT_PARAMETERS, never inside the command line. The code is the stored
 * content with the hash that the booking names, unpacked; a `file:` output folder is made beforehand, since a job may run as is.
 */
export async function attemptSpec(
  ctx: SagaContext,
  booking: Booking,
  state: Extract<BookingState, { state: 'requesting' }>,
): Promise<AttemptSpec> {
  const { spec } = booking;
  const outputs = outputsUri(ctx, booking, state.attempt);
  if (outputs.startsWith('file:')) await mkdir(new URL(outputs), { recursive: true });
  const code = codeHash(spec);
  const checkpoint = await newestCheckpoint(ctx, booking, state.attempt);
  const nodes = state.placement.nodes ?? 1;
  const parameters = canonicalText({ ...spec.parameters, outputs });
  return {
    key: attemptKey(booking.bookingId, state.attempt),
    tag: ctx.tag,
    bookingId: booking.bookingId,
    attempt: state.attempt,
    entrypoint: spec.run,
    workdir: code === null ? undefined : await materialiseCode(ctx.store, code, join(ctx.stateDir, 'code')),
    env: {
      ...spec.envs,
      MERIT_PARAMETERS: parameters,
      MERIT_BOOKING: booking.bookingId,
      MERIT_ATTEMPT: String(state.attempt),
      MERIT_OUTPUTS: outputs,
      MERIT_NUM_NODES: String(nodes),
      ...(checkpoint === undefined ? {} : { MERIT_CHECKPOINT: checkpoint }),
      ...(spec.array?.index === undefined
        ? {}
        : { MERIT_ARRAY_INDEX: String(spec.array.index), MERIT_ARRAY_COUNT: String(spec.array.count) }),
      TRACEPARENT: formatTraceparent({
        traceId: booking.traceId,
        spanId: booking.specHash.slice(0, 16),
        sampled: true,
      }),
    },
    resources: {
      gpuMilli: BigInt(spec.gpuMilli),
      cpuMilli: BigInt(spec.cpuMilli),
      memoryBytes: BigInt(spec.memoryMib) * 1_048_576n,
    },
    nodes,
    flavour: state.placement.flavour,
    ...(spec.options === undefined ? {} : { options: spec.options }),
    leaseMs: leaseMsOf(booking),
  };
}
