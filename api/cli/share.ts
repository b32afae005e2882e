import { integer } from './values.ts';

const MAX_SHARE = 100;

/** `10%` or `10`: a whole per cent of the models, above none. */
export function share(text: string): number {
  return integer(1, MAX_SHARE)(text.replace(/%$/, ''));
}
