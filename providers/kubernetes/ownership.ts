import { sha256Hex } from '../../core/canonical.ts';
import type { KubernetesObject } from '../../platform/kubernetes/list.ts';
import { checkHeld, type Owner } from '../cloud/owner.ts';
import { type Handle, ProviderError } from '../provider.ts';

export { type Owner, ownerOf } from '../cloud/owner.ts';

/** A DNS label, which is also fit for a label's value: what names of Jobs, Services and their pods are made of. */
const NAME = /^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$/;
const LABEL_VALUE = /^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$/;

/** What everything that Merit makes carries; its value is `labelValue(tag)`. */
export const TAG_LABEL = 'merit/tag';
/** Of everything of one attempt: its key. */
export const KEY_LABEL = 'merit/key';
/** Says in which of its starts the attempt was seen to run: after a suspension it would run once more from its beginning. */
export const RAN = 'merit/ran';
/** The uid of a pod that was seen to run then. */
export const RAN_POD = 'merit/ran-pod';

/** Throws ProviderError `invalid` unless the key can name things of Kubernetes, with so many characters behind it. */
export function checkName(key: string, suffix = 0): void {
  if (NAME.test(key) && key.length + suffix <= 63) return;
  const most = 63 - suffix;
  throw new ProviderError(
    'invalid',
    `Kubernetes takes names of 1 to ${most} of a-z, 0-9 and inner dashes, and ${key.slice(0, 140)} is none`,
  );
}

/** False: nothing that Merit made can have it. */
export function isName(key: string): boolean {
  return NAME.test(key);
}

/** What a list finds by; a value that no label can have is told by its hash. */
export function ownerLabels(key: string, { tag }: Owner): Readonly<Record<string, string>> {
  return { [TAG_LABEL]: labelValue(tag), [KEY_LABEL]: key, 'app.kubernetes.io/managed-by': 'merit' };
}

/** The whole of it: what labels find is held against this. */
export function ownerAnnotations({ tag, bookingId, attempt, content }: Owner): Readonly<Record<string, string>> {
  return { 'merit/tag': tag, 'merit/booking': bookingId, 'merit/attempt': attempt, 'merit/content': content };
}

export function tagSelector(tag: string): string {
  return `${TAG_LABEL}=${labelValue(tag)}`;
}

function labelValue(text: string): string {
  return text !== '' && LABEL_VALUE.test(text) ? text : `sha256-${sha256Hex(Buffer.from(text)).slice(0, 40)}`;
}

/** undefined: Merit did not make it. */
export function ownerIn({ metadata: { annotations = {} } }: KubernetesObject): Owner | undefined {
  const {
    'merit/tag': tag,
    'merit/booking': bookingId,
    'merit/attempt': attempt,
    'merit/content': content,
  } = annotations;
  if (tag === undefined || bookingId === undefined || attempt === undefined || content === undefined) return undefined;
  return { tag, bookingId, attempt, content };
}

export function handleOf(provider: string, object: KubernetesObject): Handle {
  return { provider, id: object.metadata.name, uid: object.metadata.uid };
}

/** Throws ProviderError `invalid` unless what has this name is this attempt, with this content. `what` is as in `Job`. */
export function checkOwner(what: string, key: string, wanted: Owner, found: Owner | undefined): void {
  checkHeld(`the cluster already holds a ${what} ${key}`, wanted, found);
}
