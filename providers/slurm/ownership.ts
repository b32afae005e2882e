import { parseJsonObject } from '../../core/json.ts';
import { type Owner as AnyOwner, checkOwner, ownerOf as ownerOfSpec } from '../cloud/owner.ts';
import { type AttemptSpec, type Handle, isKey, ProviderError } from '../provider.ts';

export const PROVIDER_KIND = 'slurm';
const COMMENT = 'merit ';

/** What tells whose a job is: in the job's comment, and in its folder. */
export interface Owner extends AnyOwner {
  /** Made with the attempt's folder; the same for whatever Slurm is asked for it. */
  readonly uid: string;
}

export function ownerOf(spec: AttemptSpec, uid: string): Owner {
  return { uid, ...ownerOfSpec(spec, PROVIDER_KIND) };
}

export function commentOf({ uid, tag, bookingId, attempt, content }: Owner): string {
  return `${COMMENT}${JSON.stringify({ uid, tag, bookingId, attempt, content })}`;
}

/** undefined: Merit did not make it. */
export function ownerIn(comment: string): Owner | undefined {
  if (!comment.startsWith(`${COMMENT}{`)) return undefined;
  return ownerFrom(Buffer.from(comment.slice(COMMENT.length)));
}

/** undefined: these bytes are nobody's. */
export function ownerFrom(bytes: Uint8Array): Owner | undefined {
  const reading = parseJsonObject(bytes);
  if (!reading.ok) return undefined;
  const { uid, tag, bookingId, attempt, content } = reading.value;
  if (typeof uid !== 'string' || typeof tag !== 'string' || typeof bookingId !== 'string') return undefined;
  if (typeof attempt !== 'string' || typeof content !== 'string') return undefined;
  return { uid, tag, bookingId, attempt, content };
}

export function handleOf(key: string, { uid }: Owner): Handle {
  return { provider: PROVIDER_KIND, id: key, uid };
}

/** Throws ProviderError `invalid` unless what has this key is this attempt, with this content. */
export function checkIsOwner(spec: AttemptSpec, found: Owner): void {
  checkOwner('Slurm', spec.key, ownerOf(spec, found.uid), found);
}

/** Throws ProviderError `invalid` for a key that no attempt of Merit's has: what it named would never be found again. */
export function checkName(key: string): void {
  if (!isJobName(key)) throw new ProviderError('invalid', `${key.slice(0, 140)} does not begin with m-`);
}

/** The name of a job that Merit could have made. */
export function isJobName(name: string): boolean {
  return name.startsWith('m-') && isKey(name);
}
