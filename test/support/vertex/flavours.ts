import type { PoolFlavour } from '../../../providers/provider.ts';
import type { VertexConfig } from '../../../providers/vertex/config.ts';

export const L4: PoolFlavour = {
  flavour: 'l4',
  resource: 'gpu',
  spot: false,
  currency: 'EUR',
  centsPerUnitHour: 142n,
};
const MACHINE = { machineType: 'g2-standard-48', accelerator: 'NVIDIA_L4', gpus: 4, cpus: 48, machines: 8 } as const;
export const FLAVOURS: VertexConfig['flavours'] = [
  { ...MACHINE, name: 'l4', memoryGib: 192 },
  { ...MACHINE, name: 'l4-spot', spot: true, centsPerUnitHour: 50 },
  { name: 'n1', machineType: 'n1-standard-4', gpus: 0, cpus: 4, machines: 3, centsPerUnitHour: 6 },
];
