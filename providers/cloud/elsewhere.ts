import { type Observation, ProviderError } from '../provider.ts';

/** What a job that is not there is: one that was made in another region than the pool names now is not gone, and asked for in the wrong place. */
export function absentIn(here: string, key: string, made: string | undefined): Observation {
  if (made === undefined || made === here) return { state: 'absent' };
  const text = `${key} was made in ${made}, and the pool now names ${here}: name ${made} until it has ended`;
  throw new ProviderError('transient', text);
}
