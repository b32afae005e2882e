import { etcd } from './etcd.ts';
import type { Part } from './harness/part.ts';
import { kafka } from './kafka.ts';
import { kubeApiserver } from './kube-apiserver.ts';
import { kubeControllerManager } from './kube-controller-manager.ts';
import { kubeScheduler } from './kube-scheduler.ts';
import { kuberayOperator } from './kuberay-operator.ts';
import { moto } from './moto.ts';
import { schemathesis } from './schemathesis.ts';
import { slurm } from './slurm.ts';
import { versitygw } from './versitygw.ts';

/** Every part that `npm run test:parts` gets, in that order. */
export const ALL: readonly Part[] = [
  etcd,
  kafka,
  kubeApiserver,
  kubeControllerManager,
  kubeScheduler,
  kuberayOperator,
  moto,
  schemathesis,
  slurm,
  versitygw,
];
