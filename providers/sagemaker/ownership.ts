import type { Owner } from '../cloud/owner.ts';
import { type Handle, ProviderError } from '../provider.ts';

export const PROVIDER_KIND = 'sagemaker';

/** What SageMaker takes as the name of a job; case tells none apart. */
const NAME = /^(?=.{1,63}$)[a-z0-9](-*[a-z0-9]){0,62}$/;

/** The attempt's key is the job's name. Throws ProviderError `invalid` where SageMaker would not take it. */
export function checkName(key: string): void {
  if (NAME.test(key)) return;
  throw new ProviderError(
    'invalid',
    `SageMaker takes names of 1 to 63 of a-z, 0-9 and inner dashes, and ${key.slice(0, 140)} is none`,
  );
}

/** False: no job that Merit made can have it. */
export function isName(key: string): boolean {
  return NAME.test(key);
}

/**
 * It stands in the job's environment, which DescribeTrainingJob tells with the job, at once, and nobody can change. Tags say the same to people,
 * bills and policies; they are another call, may come later than the job, and can be taken away.
 */
export function ownerEnvironment({ tag, bookingId, attempt, content }: Owner): Readonly<Record<string, string>> {
  return { MERIT_TAG: tag, MERIT_BOOKING: bookingId, MERIT_ATTEMPT: attempt, MERIT_CONTENT: content };
}

export function ownerTags({ tag, bookingId, attempt, content }: Owner): Readonly<Record<string, string>> {
  return { 'merit:tag': tag, 'merit:booking': bookingId, 'merit:attempt': attempt, 'merit:content': content };
}

/** undefined: Merit did not make it. */
export function ownerIn(environment: Readonly<Record<string, string>> | undefined): Owner | undefined {
  const {
    MERIT_TAG: tag,
    MERIT_BOOKING: bookingId,
    MERIT_ATTEMPT: attempt,
    MERIT_CONTENT: content,
  } = environment ?? {};
  if (tag === undefined || bookingId === undefined || attempt === undefined || content === undefined) return undefined;
  return { tag, bookingId, attempt, content };
}

/** The ARN tells the account and the region that it is in. */
export function handleOf(key: string, arn: string | undefined): Handle {
  return { provider: PROVIDER_KIND, id: key, uid: arn };
}
