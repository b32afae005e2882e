import { etcd } from './etcd.ts';
import type { Part } from './harness/part.ts';
import { kubeApiserver } from './kube-apiserver.ts';
import { versitygw } from './versitygw.ts';

/** Every part that `npm run test:parts` gets, in that order. */
export const ALL: readonly Part[] = [etcd, kubeApiserver, versitygw];
