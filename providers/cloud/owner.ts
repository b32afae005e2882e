import { contentHash } from '../../core/canonical.ts';
import { type AttemptSpec, ProviderError } from '../provider.ts';

/** What tells whose a job is. */
export interface Owner {
  readonly tag: string;
  readonly bookingId: string;
  readonly attempt: string;
  /** SHA-256 of what a repetition of the attempt never changes. */
  readonly content: string;
}

export function ownerOf(spec: AttemptSpec, kind: string): Owner {
  return { tag: spec.tag, bookingId: spec.bookingId, attempt: String(spec.attempt), content: contentOf(spec, kind) };
}

/** The environment may name a newer checkpoint, and the lease may have grown meanwhile. */
function contentOf({ entrypoint, resources, nodes = 1, flavour, options }: AttemptSpec, kind: string): string {
  const { gpuMilli, cpuMilli, memoryBytes } = resources;
  const amounts = [gpuMilli, cpuMilli, memoryBytes].map(String);
  return contentHash({ entrypoint, amounts, nodes, flavour, options: options?.[kind] ?? null });
}

/** Throws ProviderError `invalid` unless the job of this name is this attempt, with this content. */
export function checkOwner(service: string, key: string, wanted: Owner, found: Owner | undefined): void {
  checkHeld(`${service} already holds a job ${key}`, wanted, found);
}

/** As checkOwner. `held`: by whom what is, as the message begins. */
export function checkHeld(held: string, wanted: Owner, found: Owner | undefined): void {
  const names = ['tag', 'bookingId', 'attempt', 'content'] as const;
  const other = found === undefined ? 'name' : names.find((name) => found[name] !== wanted[name]);
  if (other === undefined) return;
  const text = found === undefined ? 'which Merit did not make' : `whose ${other} is not this attempt's`;
  throw new ProviderError('invalid', `conflict: ${held} ${text}`);
}
