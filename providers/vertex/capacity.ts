import { capacityOf as leftOf } from '../cloud/rented-flavours.ts';
import type { FlavourCapacity } from '../provider.ts';
import type { Flavour } from './config.ts';
import type { CustomJob } from './wire.ts';

/**
 * What the machines that the config declares leave: of each type and accelerator less what any custom job of the region has of it, Merit's or not. Two
 * flavours of one kind share its use; each then tells what its own number would leave.
 */
export function capacityOf(flavours: readonly Flavour[], live: Iterable<CustomJob>): readonly FlavourCapacity[] {
  const used = new Map<string, number>();
  for (const { jobSpec } of live)
    for (const { machineSpec, replicaCount } of jobSpec?.workerPoolSpecs ?? []) {
      const id = idOf(machineSpec, jobSpec?.scheduling?.strategy === 'SPOT');
      used.set(id, (used.get(id) ?? 0) + Number(replicaCount));
    }
  return flavours.map((flavour) => {
    const { machineType, accelerator, gpus, machines, spot } = flavour;
    const id = idOf({ machineType, acceleratorType: accelerator, acceleratorCount: gpus }, spot);
    return leftOf(flavour, machines, used.get(id) ?? 0);
  });
}

function idOf(
  machine: {
    readonly machineType?: string;
    readonly acceleratorType?: string | undefined;
    readonly acceleratorCount?: number;
  } | null,
  spot: boolean,
): string {
  const { machineType, acceleratorType, acceleratorCount = 0 } = machine ?? {};
  return `${machineType} ${acceleratorCount > 0 ? `${acceleratorType} ${acceleratorCount}` : ''} ${spot}`;
}
