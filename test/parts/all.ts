import { etcd } from './etcd.ts';
import type { Part } from './harness/part.ts';

/** Every part that `npm run test:parts` gets, in that order. */
export const ALL: readonly Part[] = [etcd];
