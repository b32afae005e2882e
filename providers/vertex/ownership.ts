import type { Owner } from '../cloud/owner.ts';
import { type Handle, ProviderError } from '../provider.ts';
import type { CustomJob } from './wire.ts';

export const PROVIDER_KIND = 'vertex';

/** What Google takes as the value of a label, of what Merit makes. */
const LABEL = /^[a-z0-9_-]{1,63}$/;
/** Of a SHA-256 in hexadecimal, so that it fits a label: 160 bits. */
const CONTENT_CHARACTERS = 40;

/** Jobs that carry this are Merit's. */
export const TAG_LABEL = 'merit_tag';

/** The key is the job's display name, and stands in filters. Throws ProviderError `invalid` where Vertex AI would not take it, or the tag, as a label. */
export function checkLabels(key: string, { tag, bookingId }: Owner): void {
  const wrong = [key, tag, bookingId].find((text) => !LABEL.test(text));
  if (wrong === undefined) return;
  const text = `Vertex AI takes labels of 1 to 63 of a-z, 0-9, _ and -, and ${wrong.slice(0, 140)} is none`;
  throw new ProviderError('invalid', text);
}

/** False: no job that Merit made can have it. */
export function isLabel(text: string): boolean {
  return LABEL.test(text);
}

/** Nobody can change a custom job's labels. */
export function ownerLabels({ tag, bookingId, attempt, content }: Owner): Readonly<Record<string, string>> {
  return {
    [TAG_LABEL]: tag,
    merit_booking: bookingId,
    merit_attempt: attempt,
    merit_content: content.slice(0, CONTENT_CHARACTERS),
  };
}

/** undefined: Merit did not make it. */
export function ownerIn({ labels }: CustomJob): Owner | undefined {
  const { [TAG_LABEL]: tag, merit_booking: bookingId, merit_attempt: attempt, merit_content: content } = labels ?? {};
  if (tag === undefined || bookingId === undefined || attempt === undefined || content === undefined) return undefined;
  return { tag, bookingId, attempt, content };
}

/** As a label holds it. */
export function labelled(owner: Owner): Owner {
  return { ...owner, content: owner.content.slice(0, CONTENT_CHARACTERS) };
}

/** `projects/NUMBER/locations/REGION/customJobs/ID` tells the project and the region that it is in. */
export function handleOf(key: string, name: string): Handle {
  return { provider: PROVIDER_KIND, id: key, uid: name };
}
